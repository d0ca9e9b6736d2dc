"""A run as its records in a store tell it: from any machine that can read it, whatever executes the run."""

from __future__ import annotations

import json
from collections.abc import Sequence

from components.core.course import Course, read_courses
from components.core.errors import UserError
from components.core.journal import read_journal
from components.core.store import join, open_store
from pipelines.watch.outline import Outline, outline
from pipelines.watch.reading import Reading, of_this_attempt


class Records:
    """A run's records in a store, by the first of these names that has any."""

    def __init__(self, root: str, names: Sequence[str]) -> None:
        self._root, self._names = root, list(dict.fromkeys(names))
        self._planned: Outline | None = None

    def read(self, state: str = "") -> Reading:
        """What they tell now; `state` where the run's own system knows it."""
        for name in self._names:
            if courses := of_this_attempt(read_courses(self._root, name)):
                outline = self._outline(name, courses)
                return Reading(state or self._state(name, outline, courses), outline, courses)
        return Reading(state or "waiting", (), ())

    def _state(self, run: str, outline: Outline, courses: Sequence[Course]) -> str:
        """Of a run whose report was written; another part may follow one that ended well."""
        report = next((course for course in courses if course.name == "report"), None)
        if report is None or report.state == "running" or any(course.started > report.started for course in courses):
            return "running"
        if any(course.state != "done" for course in courses):
            return "failed"
        summary = json.loads(open_store(join(self._root, "runs", run)).read("summary.json") or b"{}")
        left = {step for phase in outline for step in phase.steps} - {course.name for course in courses}
        return "running" if left and not summary.get("stopped_by") else "finished"

    def _outline(self, run: str, courses: Sequence[Course]) -> Outline:
        """None while the run may do something else than the loop of its recipe: compare two models, say."""
        if self._planned is None:
            self._planned = _loop(self._root, run)
        certain = {step for phase in self._planned[1:-1] for step in phase.steps}
        names = {course.name for course in courses}
        known = certain | {step for phase in self._planned for step in phase.steps}
        return self._planned if names & certain and names <= known else ()


def records_of(root: str, run: str) -> Records:
    """Those of a run that the store has. Raises UserError where it has none."""
    if not run:
        raise UserError("a store is asked for one run", "Name the run.")
    records = Records(root, [run])
    if not records.read().courses:
        raise UserError(f"the store {root} has no run {run!r}", "srlm status lists the runs that there are.")
    return records


def _loop(root: str, run: str) -> Outline:
    """Of the recipe that the run has noted; none where that is of another version of this program."""
    from pipelines.compile import package
    from pipelines.graph.self_rewarding import parts, self_rewarding_pipeline
    from pipelines.recipe import recipe_from

    try:
        recipe = recipe_from(read_journal(root, run, "recipe")[0])
    except (UserError, IndexError):
        return ()
    return outline(package(self_rewarding_pipeline(recipe, part))[0] for part in range(1, parts(recipe) + 1))
