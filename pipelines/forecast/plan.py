"""The plan of a run: every stage with what is finished of it, what is left to do, and what that takes."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Mapping
from contextlib import redirect_stderr
from dataclasses import dataclass, fields
from pathlib import Path

from components.core.context import RunContext
from components.core.errors import UserError
from components.core.records import Counts
from components.core.stage import read_manifest
from components.run.lifecycle import import_data
from components.run.look import Found, LookedAt
from components.training.shape import shape_of
from pipelines.forecast.estimate import Estimate, by_formula, by_measurements, gpus_of, left_of
from pipelines.forecast.history import History, conditions, read_history
from pipelines.forecast.look import compiled_parts, look_at
from pipelines.forecast.work import Work, work_of
from pipelines.recipe import Recipe
from pipelines.watch.outline import outline

READ_AT_ONCE = 20e6  # bytes of data files that are read to count what is in them
DATA = {"instructions": "instructions", "questions": "questions", "seed-data": "seed_data"}


@dataclass(frozen=True)
class Line:
    """One stage. `made_by` is the run that made it, "" where that is not known; `left` is the share of its work that is
    to be done, and `estimate` of that, None where nothing is known of how long it takes."""

    found: Found
    work: Work
    made_by: str = ""
    left: float = 0.0
    estimate: Estimate | None = None


@dataclass(frozen=True)
class Total:
    """Of all stages that are not finished: None is what is not known, `unknown` names those that are in no sum."""

    estimate: Estimate | None
    unknown: list[str]
    gpu_hours: float | None
    price: float | None


@dataclass(frozen=True)
class Plan:
    """Lines in the order of the run. `between` are the seconds that a step takes beside them, None: not known."""

    recipe: Recipe
    lines: list[Line]
    steps: int
    between: float | None

    @property
    def finished(self) -> bool:
        return all(line.found.manifest for line in self.lines)

    def total(self) -> Total:
        known = [line.estimate for line in self.lines if line.estimate]
        unknown = [line.found.name for line in self.lines if not line.found.manifest and not line.estimate]
        if not known:
            return Total(None, unknown, None, None)
        steps = self.steps * (self.between or 0.0)
        seconds, low, high = (steps + sum(getattr(one, name) for one in known) for name in ("seconds", "low", "high"))
        told = f"{len(known)} stages"
        told += (
            ", without what steps take beside them: starting, loading models, reports"
            if self.between is None
            else f" and {self.between:.1f} s for each of {self.steps} steps"
        )
        hours, of_one = sum(one.gpu_hours for one in known), self.recipe.cluster.gpu_hour_price
        price = None if of_one is None else hours * of_one
        return Total(Estimate(seconds, low, high, 0, told), unknown, hours, price)


def make_plan(recipe: Recipe, store: str, run: str, parameters: Mapping[str, str]) -> Plan:
    """The plan of the recipe's run. `parameters` say where it happens, as for the run itself."""
    packages = compiled_parts(recipe)
    looked = look_at(packages, store, run, parameters)
    counts = {name: one.manifest.counts for name, one in looked.found.items() if one.manifest}
    counts = _data_counts(looked, recipe, counts) | counts
    history = read_history(store)
    lines = [_line(found, recipe, parameters, counts, history) for found in looked.found.values()]
    steps = sum(len(phase.steps) for phase in outline(documents[0] for documents in packages))
    return Plan(recipe, lines, steps, history.between)


def _line(
    found: Found, recipe: Recipe, where: Mapping[str, str], counts: Mapping[str, Counts], history: History
) -> Line:
    work = work_of(found.name, recipe, {name: its for name, its in counts.items() if name != found.name})
    if found.manifest:
        return Line(found, work, next((one.run for one in history.stages if one.uri == found.uri), ""))
    left, gpus = left_of(work, found.saved), gpus_of(found.kind, recipe)
    like = history.like(found.name, conditions(found.name, recipe, where, counts))
    estimate = None if work.uncounted else by_measurements(like, work.size * left, gpus)
    others = {
        "judging": "judge_endpoint",
        "first_judging": "judge_endpoint",
        "annotation": "annotator_endpoint",
        "mt_bench": "annotator_endpoint",
    }
    served = where.get("engine") == "endpoint" or where.get(others.get(found.kind, ""))
    if estimate is None and (found.kind in ("sft", "dpo") or not served):  # else who knows what computes it
        estimate = by_formula(found.name, work, left, recipe, shape_of(recipe.model.base))
    return Line(found, work, "", left, estimate)


def _data_counts(looked: LookedAt, recipe: Recipe, made: Mapping[str, Counts]) -> dict[str, Counts]:
    """What the data hold that the run would import, read into a scratch folder; nothing of files that are not here, or
    so large that it takes long."""
    instructions, exact, checked = recipe.instructions, recipe.evaluation.exact_answers, recipe.pairs.exact_answers
    sources = [recipe.data.messages, exact.questions if exact else "", checked.questions if checked else ""]
    sources += [instructions.reference, instructions.instructions, instructions.difficulty] if instructions else []
    paths = [Path(source) for source in sources if source and not source.startswith("builtin:")]
    if "seed-data" in made or not all(path.is_file() for path in paths):
        return {}
    if sum(path.stat().st_size for path in paths) > READ_AT_ONCE:
        return {}
    with tempfile.TemporaryDirectory(prefix="srlm-plan-") as folder, redirect_stderr(io.StringIO()):
        known = {one.name: getattr(looked, one.name) for one in fields(RunContext)}
        scratch = RunContext(**known | {"store": str(Path(folder) / "store")})
        try:
            data = import_data(scratch)
        except UserError:  # the run says what is wrong with them
            return {}
        uris = {name: getattr(data, field) for name, field in DATA.items()}
        return {name: read_manifest(uri).counts for name, uri in uris.items() if uri}
