"""What earlier runs of a store took: their seconds by stage, and under which conditions."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from components.core.course import read_courses
from components.core.errors import UserError
from components.core.journal import CONTEXT, read_journal
from components.core.records import Counts
from components.core.store import join, open_store
from pipelines.forecast.work import BESIDES, work_of
from pipelines.recipe import Recipe, recipe_from

RECENT = 8  # runs that are read, the newest


@dataclass(frozen=True)
class Measured:
    """One stage that a run made: `size` is that of its work."""

    run: str
    name: str
    uri: str
    size: int
    seconds: float
    conditions: tuple[Any, ...]


@dataclass(frozen=True)
class History:
    """`between` are the seconds that a step takes beside its stages, None where no run tells."""

    stages: list[Measured]
    between: float | None

    def like(self, name: str, conditions: tuple[Any, ...]) -> list[Measured]:
        """The newest measurements of the same work under the same conditions."""
        kind = name.rpartition("/")[2]
        return [one for one in self.stages if one.name.rpartition("/")[2] == kind and one.conditions == conditions]


def read_history(root: str) -> History:
    """Of the newest runs of the store, the newest first. What another version wrote in another form is left out."""
    stages: list[Measured] = []
    between: float | None = None
    objects = [one for one in open_store(join(root, "runs")).objects() if one.name.endswith(f"/{CONTEXT}")]
    newest = sorted(objects, key=lambda one: one.modified, reverse=True)[:RECENT]
    for run in [one.name.partition("/")[0] for one in newest]:
        try:
            where, recipe, entries = _read(root, run)
        except (UserError, ValueError, KeyError, IndexError):
            continue
        made = list(_measured(run, recipe, where, entries))
        stages += made
        if between is None and made:
            between = _between(root, run, sum(one.seconds for one in made))
    return History(stages, between)


def _read(root: str, run: str) -> tuple[dict[str, Any], Recipe, list[dict[str, Any]]]:
    """Where the run happened, its recipe, and its stages: of one that has ended they stand in one object."""
    folder = open_store(join(root, "runs", run))
    summary = folder.read("summary.json")
    entries = json.loads(summary)["stages"] if summary else read_journal(root, run, "stages")
    return json.loads(folder.read(CONTEXT) or b"{}"), recipe_from(read_journal(root, run, "recipe")[0]), entries


def _measured(run: str, recipe: Recipe, where: Mapping[str, str], entries: list[dict[str, Any]]) -> Iterator[Measured]:
    counts = {entry["name"]: Counts.model_validate(entry["counts"]) for entry in entries}
    for entry in entries:
        if not entry["reused"]:
            name = entry["name"]
            # what a stage was made of is counted as a plan counts it: without knowing what came of it
            size = work_of(name, recipe, {one: its for one, its in counts.items() if one != name}).size
            yield Measured(run, name, entry["uri"], size, entry["seconds"], conditions(name, recipe, where, counts))


def conditions(name: str, recipe: Recipe, where: Mapping[str, str], counts: Mapping[str, Counts]) -> tuple[Any, ...]:
    """What has to be the same for a stage to be measured by another: the model's size, and who computes.

    Nothing for what asks and trains no model.
    """
    model, _, kind = name.rpartition("/")
    imported = counts.get("m0/base-model")
    parameters = imported.kept.get("parameters") if imported else None
    if kind in ("sft", "dpo"):
        pods, lora = recipe.resources, getattr(recipe, kind).lora
        return parameters, pods.nodes, pods.gpus, pods.gpu_type, lora.rank if lora else None
    server = (where.get("engine"), recipe.serving.replicas, recipe.serving.pod.gpus, recipe.serving.pod.gpu_type)
    if kind in ("annotation", "mt_bench"):
        annotator = recipe.annotator.base if recipe.annotator else parameters
        return ("others", where.get("annotator_model")) if where.get("annotator_endpoint") else (annotator, *server)
    if kind in ("rubrics", "judging", "first_judging", "pairwise_judging") and where.get("judge_endpoint"):
        return ("others", where.get("judge_model"))
    if kind == "prompts" and recipe.writer:
        return (recipe.writer.base, *server)
    if kind == "base-model":
        return ((getattr(recipe, model, None) or recipe.model).base,)
    asks = ("eft", "prompts", "sampling", "judging", "evaluation", "mt_bench_answers", "benchmarks", *BESIDES)
    return (parameters, *server) if kind in asks else ()


def _between(root: str, run: str, seconds: float) -> float | None:
    """Of a run: all its time but that of its stages, by step."""
    courses = read_courses(root, run)
    if not courses or any(course.state != "done" for course in courses):
        return None
    whole = max(course.updated for course in courses) - min(course.started for course in courses)
    return max(0.0, whole - seconds) / len(courses)
