"""What a run of a recipe would find in a store: its steps, walked in the order of its compiled graph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from components.core.context import RunContext
from components.run.look import LookedAt, look, looked_at
from pipelines.compile import package
from pipelines.graph.execution import execute_steps
from pipelines.graph.self_rewarding import parts, self_rewarding_pipeline
from pipelines.recipe import Recipe

WHERE = ("tracking_uri", "engine", "endpoint", "judge_endpoint", "annotator_endpoint")
IMAGES = ("worker_image", "trainer_image", "engine_image")


def compiled_parts(recipe: Recipe) -> list[list[dict[str, Any]]]:
    """The documents of each compiled part of the run."""
    return [package(self_rewarding_pipeline(recipe, part)) for part in range(1, parts(recipe) + 1)]


def look_at(packages: list[list[dict[str, Any]]], store: str, run: str, parameters: Mapping[str, str]) -> LookedAt:
    """The run with all its stages, as far as a gate lets it come; `parameters` are the compiled pipelines' others.

    Nothing is written. An endpoint of others is asked which model it serves, as that is part of the keys.
    """
    where: dict[str, Any] = dict.fromkeys((*WHERE, *IMAGES), "") | dict(parameters)
    with looked_at(RunContext(store=store, run=run, recipe={}, **where)) as looked:
        for number, documents in enumerate(packages, 1):
            execute_steps(
                documents[0],
                documents[0]["root"],
                {**parameters, "store": store, "run": run},
                lambda name, make, inputs: look(looked, name, make, inputs),
            )
            if looked.steps.count("hand_over") < number:  # the last part, or a gate stopped the run
                break
    return looked
