"""The plan of a run: every stage with what is finished of it, what is left to do, and what that takes."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Mapping
from contextlib import redirect_stderr
from dataclasses import dataclass, replace
from pathlib import Path

from components.core.errors import UserError
from components.core.records import Counts
from components.core.stage import read_manifest
from components.run.lifecycle import import_data
from components.run.look import Found, LookedAt
from pipelines.forecast.estimate import Estimate, by_formula, by_measurements, gpus_of, left_of
from pipelines.forecast.history import History, conditions, read_history
from pipelines.forecast.look import compiled_parts, look_at
from pipelines.forecast.work import Work, work_of
from pipelines.plan.shapes import shape_of
from pipelines.recipe import Recipe

READ_AT_ONCE = 20e6  # bytes of data files that are read to count what is in them
DATA = {"instructions": "instructions", "questions": "questions", "seed-data": "seed_data"}


@dataclass(frozen=True)
class Line:
    """One stage. `made_by` is the run that made it, "" where that is not known; `estimate` is of what is left of it,
    None where nothing is known of how long that takes."""

    found: Found
    work: Work
    made_by: str
    estimate: Estimate | None

    @property
    def finished(self) -> bool:
        return self.found.manifest is not None

    @property
    def left(self) -> float:
        """Of its work, 0 to 1."""
        return 0.0 if self.finished else left_of(self.work, self.found.saved)


@dataclass(frozen=True)
class Plan:
    """Lines in the order of the run. `between` are the seconds that a step takes beside them, None: not known."""

    recipe: Recipe
    lines: list[Line]
    steps: int
    between: float | None
    runs: int

    @property
    def finished(self) -> bool:
        return all(line.finished for line in self.lines)

    @property
    def unknown(self) -> list[str]:
        """Names of the stages that are left and of which nobody knows how long they take."""
        return [line.found.name for line in self.lines if not line.finished and line.estimate is None]

    def total(self) -> Estimate | None:
        """Of all that can be estimated; None where nothing can be."""
        known = [line.estimate for line in self.lines if line.estimate]
        between = self.steps * (self.between or 0.0)
        if not known:
            return None
        seconds, low, high = (
            sum(getattr(one, field) for one in known) + between for field in ("seconds", "low", "high")
        )
        told = f"{len(known)} stages"
        told += f" and {self.between:.1f} s for each of {self.steps} steps" if self.between is not None else ""
        return Estimate(seconds, low, high, 0, told)

    @property
    def gpu_hours(self) -> float:
        return sum(line.estimate.gpu_hours for line in self.lines if line.estimate)

    @property
    def price(self) -> float | None:
        """Of these GPU hours; None where the recipe does not say what one costs."""
        of_one = self.recipe.cluster.gpu_hour_price
        return None if of_one is None else self.gpu_hours * of_one


def make_plan(recipe: Recipe, store: str, run: str, parameters: Mapping[str, str]) -> Plan:
    """The plan of the recipe's run. `parameters` say where it happens, as for the run itself."""
    looked = look_at(compiled_parts(recipe), store, run, parameters)
    counts = {name: one.manifest.counts for name, one in looked.found.items() if one.manifest}
    counts = _data_counts(looked, recipe, counts) | counts
    history = read_history(store)
    lines = [_line(found, recipe, parameters, counts, history) for found in looked.found.values()]
    return Plan(recipe, lines, len(looked.steps), history.between, history.runs)


def _line(
    found: Found, recipe: Recipe, where: Mapping[str, str], counts: Mapping[str, Counts], history: History
) -> Line:
    work = work_of(found.name, recipe, {name: its for name, its in counts.items() if name != found.name})
    made_by = history.maker(found.uri) if found.manifest else ""
    if found.manifest:
        return Line(found, work, made_by, None)
    left, gpus = left_of(work, found.saved), gpus_of(found.kind, recipe)
    like = history.like(found.name, conditions(found.name, recipe, where, counts))
    estimate = None if work.uncounted else by_measurements(like, work.size * left, gpus)
    if estimate is None and _by_own_server(found.kind, where):
        estimate = by_formula(found.name, work, left, recipe, shape_of(recipe.model.base))
    return Line(found, work, made_by, estimate)


def _by_own_server(kind: str, where: Mapping[str, str]) -> bool:
    """Whether the recipe says on what the stage is computed: not where others serve the model."""
    others = {"judging": "judge_endpoint", "annotation": "annotator_endpoint", "mt_bench": "annotator_endpoint"}
    asked = kind not in ("sft", "dpo")
    return not asked or not (where.get("engine") == "endpoint" or where.get(others.get(kind, "")))


def _data_counts(looked: LookedAt, recipe: Recipe, made: Mapping[str, Counts]) -> dict[str, Counts]:
    """What the data hold that the run would import, read into a scratch folder; nothing of files that are not here, or
    so large that it takes long."""
    instructions, exact = recipe.instructions, recipe.evaluation.exact_answers
    sources = [recipe.data.messages, exact.questions if exact else ""]
    sources += [instructions.reference, instructions.instructions, instructions.difficulty] if instructions else []
    if "seed-data" in made or not _quickly_read(list(filter(None, sources))):
        return {}
    with tempfile.TemporaryDirectory(prefix="srlm-plan-") as folder, redirect_stderr(io.StringIO()):
        scratch = replace(looked.plain(), store=str(Path(folder) / "store"))
        try:
            data = import_data(scratch)
        except UserError:  # the run says what is wrong with them
            return {}
        uris = {name: getattr(data, field) for name, field in DATA.items()}
        return {name: read_manifest(uri).counts for name, uri in uris.items() if uri}


def _quickly_read(sources: list[str]) -> bool:
    """Whether these data files are here, and small."""
    paths = [Path(source) for source in sources if not source.startswith("builtin:")]
    return all(path.is_file() for path in paths) and sum(path.stat().st_size for path in paths) < READ_AT_ONCE
