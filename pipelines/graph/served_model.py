"""What every step of the graphs needs: where it happens, its image, and KFP's own cache switched off."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from components.evaluation.alpaca_eval.component import annotation
from components.evaluation.component import evaluation
from components.evaluation.lm_eval.component import benchmarks
from components.evaluation.mt_bench.component import mt_bench, mt_bench_answers
from components.gate.component import gate
from components.gate.register_component import registry
from components.kubernetes.settings import ClusterSettings
from components.serving.component import serve, unserve
from pipelines.graph.pods import give_resources, set_up_pod
from pipelines.recipe import Recipe


@dataclass(frozen=True)
class MeasuredWith:
    """What all models are measured with: URIs of held-out prompts, annotator, instructions and questions ("": none)."""

    seed_data: Any
    instructions: Any
    questions: Any
    annotator: Any

    def arguments(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def inputs(self) -> list[Any]:
        return list(filter(None, [self.seed_data, self.instructions, self.questions]))


@dataclass(frozen=True)
class Place:
    """Where a run happens: pipeline parameters, handed down through the nested pipelines.

    `cluster` is no parameter: names of objects that steps read their environment from are compiled in.
    """

    cluster: ClusterSettings
    store: str
    run: str
    tracking_uri: str
    engine: str
    endpoint: str
    judge_endpoint: str
    annotator_endpoint: str
    worker_image: str
    trainer_image: str
    engine_image: str

    def arguments(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name != "cluster"}

    def training_arguments(self) -> dict[str, Any]:
        wanted = ("store", "run", "judge_endpoint", "worker_image", "trainer_image")
        return {name: getattr(self, name) for name in wanted}

    def stage(self) -> dict[str, Any]:
        return {"root": self.store, "run": self.run}

    def server(self) -> dict[str, Any]:
        return {"engine": self.engine, "endpoint": self.endpoint}

    def worker(self, task: Any) -> Any:
        """A step that only talks to servers."""
        return set_up(task, self.cluster, self.worker_image)

    def serve(
        self, recipe: Recipe, name: str, model: Any, work: dict[str, Any], inputs: list[Any], other_endpoint: str = ""
    ) -> Any:
        """A server for a model, unless everything that it is needed for is finished or another endpoint does it."""
        return self.worker(
            serve(
                name=name,
                settings=recipe.serving.to_dict(),
                model=model,
                inputs=inputs,
                work=work,
                other_endpoint=other_endpoint,
                cluster=self.cluster.to_dict(),
                worker_image=self.worker_image,
                engine_image=self.engine_image,
                **self.stage(),
                **self.server(),
            )
        )

    def unserve(self, name: str, server: Any, finished: list[Any]) -> Any:
        """The end of a server, once these stages, which it was needed for, are there."""
        note = server.outputs["note"]
        return self.worker(unserve(run=self.run, name=name, note=note, finished=finished, **self.server()))

    def importer(self, task: Any) -> Any:
        """A step that reads a model's files, but trains nothing."""
        return set_up(task, self.cluster, self.trainer_image)

    def training(self, recipe: Recipe) -> dict[str, Any]:
        """What a step that trains is told about its pods, beside its own."""
        pods = {"resources": recipe.resources.to_dict(), "cluster": self.cluster.to_dict(), "image": self.trainer_image}
        return {**pods, **self.stage()}

    def trainer(self, task: Any, recipe: Recipe) -> Any:
        """A step that trains in its own pod or, with several nodes, has a TrainJob do it and only watches."""
        set_up(task, self.cluster, self.trainer_image)
        return task if recipe.resources.nodes > 1 else give_resources(task, recipe.resources, self.cluster)


def set_up(task: Any, cluster: ClusterSettings, image: Any) -> Any:
    """What every step of every graph gets: its image, its pod's settings, and no cache of KFP's."""
    return set_up_pod(uncached(task).set_container_image(image), cluster)


def uncached(task: Any) -> Any:
    """KFP's cache never checks that an output still exists; the stages find finished work by content instead."""
    return task.set_caching_options(False)


@dataclass
class ServedModel:
    """One serving of one model in a graph: start, use, stop, measure, compare, decide, register."""

    place: Place
    recipe: Recipe
    name: str
    model: Any
    data: MeasuredWith
    opponent: Any = ""  # the evaluation of the model before
    annotated: Any = ""
    measured: list[Any] = field(default_factory=list)  # URIs of the stages that measured it

    def start(self, work: dict[str, Any], inputs: list[Any], after: Sequence[Any] = ()) -> None:
        """Serve the model. `work` and `inputs` are what decides the content of everything it is served for."""
        measurements = {name: getattr(self.recipe, name) for name in ("evaluation", "benchmarks", "mt_bench")}
        self.server = self.place.serve(
            self.recipe,
            self.name,
            self.model,
            work={**{name: settings.to_dict() for name, settings in measurements.items() if settings}, **work},
            inputs=[*self.data.inputs(), *inputs],
        )
        if after:
            self.server.after(*after)
        self.endpoint = self.server.outputs["endpoint"]

    def measure(self) -> Any:
        """Ask the served model what every model is asked; returns the evaluation stage's URI."""
        self.evaluated = self._ask(
            evaluation,
            settings=self.recipe.evaluation.to_dict(),
            seed_data=self.data.seed_data,
            instructions=self.data.instructions,
            questions=self.data.questions,
        )
        self.measured = [self.evaluated]
        if self.recipe.benchmarks:
            self.measured.append(self._ask(benchmarks, settings=self.recipe.benchmarks.to_dict()))
        if self.recipe.mt_bench:
            self.answered = self._ask(mt_bench_answers, settings=self.recipe.mt_bench.to_dict())
            self.measured.append(self.answered)
        return self.evaluated

    def stop(self, *finished: Any) -> Any:
        """Free the server once all that measured it and these stages, the rest of its work, are there."""
        self.stopped = self.place.unserve(self.name, self.server, [*self.measured, *finished])
        return self.stopped

    def compare(self) -> None:
        """Let the annotator compare and grade the model's answers, after its own server is gone."""
        settings = self.recipe.annotation
        opponent = self.opponent if settings.head_to_head else ""
        work = {"annotation": settings.to_dict()} if self.recipe.instructions or opponent else {}
        work |= {"mt_bench": self.recipe.mt_bench.to_dict()} if self.recipe.mt_bench else {}
        if not work:
            return
        name, place = f"{self.name}-annotator", self.place
        asked = [*self.measured, *filter(None, [opponent, self.data.instructions])]
        server = place.serve(self.recipe, name, self.data.annotator, work, asked, place.annotator_endpoint)
        server.after(self.stopped)
        made = [self._annotate(server.outputs["endpoint"], opponent)] if "annotation" in work else []
        made += [self._grade(server.outputs["endpoint"])] if self.recipe.mt_bench else []
        self.measured += made
        self.stopped = place.unserve(name, server, made)

    def _ask(self, component: Any, **settings: Any) -> Any:
        task = component(name=self.name, model=self.model, endpoint=self.endpoint, **settings, **self.place.stage())
        return self.place.worker(task).outputs["Output"]

    def _annotate(self, endpoint: Any, opponent: Any) -> Any:
        self.annotated = self.place.worker(
            annotation(
                name=self.name,
                settings=self.recipe.annotation.to_dict(),
                evaluation=self.evaluated,
                opponent=opponent,
                instructions=self.data.instructions,
                annotator=self.data.annotator,
                annotator_endpoint=self.place.annotator_endpoint,
                endpoint=endpoint,
                **self.place.stage(),
            )
        ).outputs["Output"]
        return self.annotated

    def _grade(self, endpoint: Any) -> Any:
        return self.place.worker(
            mt_bench(
                name=self.name,
                settings=self.recipe.mt_bench.to_dict(),  # type: ignore[union-attr]
                answers=self.answered,
                annotator=self.data.annotator,
                annotator_endpoint=self.place.annotator_endpoint,
                endpoint=endpoint,
                **self.place.stage(),
            )
        ).outputs["Output"]

    def register(self) -> Any:
        """Put a measured model that is no candidate into the registry, under its name as alias."""
        return self.place.worker(
            registry(
                tracking_uri=self.place.tracking_uri,
                registered_name=self.recipe.name,
                alias=self.name,
                model=self.model,
                measured=self.measured,
                **self.place.stage(),
            )
        )

    def decide(self, previous: Sequence[Any], judged: Sequence[Any] = ()) -> Any:
        """The gate: register the model, and promote it, hold it back or stop the run.

        `judged` are its judgements of a round, `previous` is what measured the model before it.
        """
        return self.place.worker(
            gate(
                tracking_uri=self.place.tracking_uri,
                name=self.name,
                settings=self.recipe.gate.to_dict() | {"registered_name": self.recipe.name},
                model=self.model,
                measured=[*self.measured, *judged],
                previous=list(previous),
                **self.place.stage(),
            )
        )
