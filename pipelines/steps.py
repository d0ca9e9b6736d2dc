"""What every step of the graphs needs: where it happens, its image, and KFP's own cache switched off."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from components.annotation.component import annotation
from components.evaluation.component import evaluation
from components.gate.component import gate
from components.registry.component import registry
from components.serving.component import serve, unserve
from pipelines.recipe import Recipe


@dataclass(frozen=True)
class MeasuredWith:
    """What all models are measured with: URIs of held-out prompts, instruction set ("" for none) and annotator."""

    seed_data: Any
    instructions: Any
    annotator: Any

    def arguments(self) -> dict[str, Any]:
        return {"seed_data": self.seed_data, "instructions": self.instructions, "annotator": self.annotator}

    def inputs(self) -> list[Any]:
        return [self.seed_data, *([self.instructions] if self.instructions else [])]


@dataclass(frozen=True)
class Place:
    """Where a run happens: pipeline parameters, handed down through the nested pipelines."""

    store: str
    run: str
    tracking_uri: str
    engine: str
    endpoint: str
    judge_endpoint: str
    annotator_endpoint: str
    worker_image: str
    trainer_image: str

    def arguments(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def training_arguments(self) -> dict[str, Any]:
        wanted = ("store", "run", "judge_endpoint", "worker_image", "trainer_image")
        return {name: getattr(self, name) for name in wanted}

    def stage(self) -> dict[str, Any]:
        return {"root": self.store, "run": self.run}

    def server(self) -> dict[str, Any]:
        return {"engine": self.engine, "endpoint": self.endpoint}

    def worker(self, task: Any) -> Any:
        """A step that only talks to servers."""
        return uncached(task).set_container_image(self.worker_image)

    def serve(
        self, recipe: Recipe, name: str, model: Any, work: dict[str, Any], inputs: list[Any], other_endpoint: str = ""
    ) -> Any:
        """A server for a model, unless everything that it is needed for is finished or another endpoint does it."""
        return self.worker(
            serve(
                name=name,
                settings=recipe.serving.plain(),
                model=model,
                inputs=inputs,
                work=work,
                other_endpoint=other_endpoint,
                **self.stage(),
                **self.server(),
            )
        )

    def unserve(self, name: str, server: Any, finished: list[Any]) -> Any:
        """The end of a server, once these stages, which it was needed for, are there."""
        note = server.outputs["note"]
        return self.worker(unserve(run=self.run, name=name, note=note, finished=finished, **self.server()))

    def trainer(self, task: Any, recipe: Recipe) -> Any:
        """A step that holds a model."""
        uncached(task).set_container_image(self.trainer_image)
        if recipe.resources.gpus:
            task.set_accelerator_type("nvidia.com/gpu").set_accelerator_limit(recipe.resources.gpus)
        if recipe.resources.memory:
            task.set_memory_limit(recipe.resources.memory)
        return task


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

    def start(self, work: dict[str, Any], inputs: list[Any], after: Sequence[Any] = ()) -> None:
        """Serve the model. `work` and `inputs` are what decides the content of everything it is served for."""
        self.server = self.place.serve(
            self.recipe,
            self.name,
            self.model,
            work={"evaluation": self.recipe.evaluation.plain(), **work},
            inputs=[*self.data.inputs(), *inputs],
        )
        if after:
            self.server.after(*after)
        self.endpoint = self.server.outputs["endpoint"]

    def measure(self) -> Any:
        """Ask the served model what every model is asked; returns the evaluation stage's URI."""
        self.evaluated = self.place.worker(
            evaluation(
                name=self.name,
                settings=self.recipe.evaluation.plain(),
                model=self.model,
                seed_data=self.data.seed_data,
                instructions=self.data.instructions,
                endpoint=self.endpoint,
                **self.place.stage(),
            )
        ).outputs["Output"]
        return self.evaluated

    def stop(self, *finished: Any) -> Any:
        """Free the server once these stages, the work of this serving, are there."""
        self.stopped = self.place.unserve(self.name, self.server, list(finished))
        return self.stopped

    def compare(self) -> list[Any]:
        """Let the annotator compare the model's answers, after its own server is gone; returns what measured it."""
        settings = self.recipe.annotation
        if settings is None or not (self.recipe.instructions or self.opponent):
            return [self.evaluated]
        name = f"{self.name}-annotator"
        compared = [self.evaluated, *filter(None, [self.opponent, self.data.instructions])]
        work = {"annotation": settings.plain()}
        server = self.place.serve(
            self.recipe, name, self.data.annotator, work, compared, self.place.annotator_endpoint
        ).after(self.stopped)
        annotated = self.place.worker(
            annotation(
                name=self.name,
                settings=settings.plain(),
                evaluation=self.evaluated,
                opponent=self.opponent,
                instructions=self.data.instructions,
                annotator=self.data.annotator,
                annotator_endpoint=self.place.annotator_endpoint,
                endpoint=server.outputs["endpoint"],
                **self.place.stage(),
            )
        ).outputs["Output"]
        self.stopped = self.place.unserve(name, server, [annotated])
        return [self.evaluated, annotated]

    def register(self, measured: list[Any]) -> Any:
        """Put a measured model that is no candidate into the registry, under its name as alias."""
        return self.place.worker(
            registry(
                tracking_uri=self.place.tracking_uri,
                registered_name=self.recipe.name,
                alias=self.name,
                model=self.model,
                measured=measured,
                **self.place.stage(),
            )
        )

    def decide(self, measured: list[Any], previous: Any) -> Any:
        """The gate: register the model, and promote it, hold it back or stop the run."""
        return self.place.worker(
            gate(
                tracking_uri=self.place.tracking_uri,
                name=self.name,
                settings=self.recipe.gate.plain() | {"registered_name": self.recipe.name},
                model=self.model,
                measured=measured,
                previous=previous,
                **self.place.stage(),
            )
        )
