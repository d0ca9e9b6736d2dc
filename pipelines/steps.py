"""What every step of the graphs needs: where it happens, its image, and KFP's own cache switched off."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from components.evaluation.component import evaluation
from components.registry.component import registry
from components.serving.component import serve, unserve
from pipelines.recipe import Recipe

PLACES = ("store", "run", "tracking_uri", "engine", "endpoint", "judge_endpoint", "worker_image", "trainer_image")


@dataclass(frozen=True)
class Place:
    """Where a run happens: pipeline parameters, handed down through the nested pipelines."""

    store: str
    run: str
    tracking_uri: str
    engine: str
    endpoint: str
    judge_endpoint: str
    worker_image: str
    trainer_image: str

    def arguments(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in PLACES}

    def stage(self) -> dict[str, Any]:
        return {"root": self.store, "run": self.run}

    def server(self) -> dict[str, Any]:
        return {"engine": self.engine, "endpoint": self.endpoint}

    def worker(self, task: Any) -> Any:
        """A step that only talks to servers."""
        return uncached(task).set_container_image(self.worker_image)

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
    """One serving of one model in a graph: start, use, stop, measure, register."""

    place: Place
    recipe: Recipe
    name: str
    model: Any
    seed_data: Any
    opponent: Any = ""

    def start(self, work: dict[str, Any], inputs: list[Any], after: list[Any] | None = None) -> None:
        """Serve the model. `work` and `inputs` are what decides the content of everything it is served for."""
        work = {"evaluation": self.recipe.evaluation.plain(), **work}
        inputs = [self.seed_data, *([self.opponent] if self.opponent else []), *inputs]
        settings = self.recipe.serving.plain()
        self.server = self.place.worker(
            serve(
                name=self.name,
                model=self.model,
                settings=settings,
                work=work,
                inputs=inputs,
                **self.place.stage(),
                **self.place.server(),
            )
        )
        if after:
            self.server.after(*after)
        self.endpoint = self.server.outputs["endpoint"]

    def measure(self) -> Any:
        """The first measurements of the served model; returns the evaluation stage's URI."""
        self.evaluated = self.place.worker(
            evaluation(
                name=self.name,
                settings=self.recipe.evaluation.plain(),
                model=self.model,
                seed_data=self.seed_data,
                opponent=self.opponent,
                endpoint=self.endpoint,
                **self.place.stage(),
            )
        ).outputs["Output"]
        return self.evaluated

    def stop(self, *finished: Any) -> Any:
        """Free the server once these stages, the work of this serving, are there."""
        return self.place.worker(
            unserve(
                run=self.place.run,
                name=self.name,
                note=self.server.outputs["note"],
                finished=list(finished),
                **self.place.server(),
            )
        )

    def register(self) -> Any:
        """Put the measured model into the registry under its name as alias; the task gives the version."""
        return self.place.worker(
            registry(
                tracking_uri=self.place.tracking_uri,
                registered_name=self.recipe.name,
                alias=self.name,
                model=self.model,
                evaluation=self.evaluated,
                **self.place.stage(),
            )
        )
