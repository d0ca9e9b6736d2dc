"""What is known of a run at one moment, however it was read: from its events on this machine, or from its journal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from components.core.course import FIRST_STEP, Course
from pipelines.watch.outline import Outline

ENDED_WELL = ("finished", "succeeded", "skipped")
OVER = (*ENDED_WELL, "failed", "stopped", "canceled", "gone")


@dataclass(frozen=True)
class Reading:
    """A run's state in a word, what it will do (empty where that is not known), and its steps that have begun."""

    state: str
    outline: Outline
    courses: Sequence[Course]

    @property
    def over(self) -> bool:
        return self.state in OVER

    @property
    def ended_well(self) -> bool:
        return self.state in ENDED_WELL

    def document(self) -> dict[str, Any]:
        """For scripts: steps that have begun, in the order of their start, and the names of those to come."""
        begun = {course.name for course in self.courses}
        to_come = [step for phase in self.outline for step in phase.steps if step not in begun]
        hidden = ("samples", "counting_since", "first", "stage_since")
        steps = []
        for course in self.courses:
            shown = {name: value for name, value in asdict(course).items() if name not in hidden}
            steps.append(shown | {"left_s": course.pace.left_s(course.total, course.updated)})
        return {"steps": steps, "to_come": to_come if self.outline else None}


class Steps:
    """The steps of a run on this machine, as its events tell them: there they run one after the other."""

    def __init__(self, events: Iterable[dict[str, Any]] = ()) -> None:
        self._courses: dict[str, Course] = {}
        self._current = ""
        for event in events:
            self.add(event)

    def add(self, event: dict[str, Any]) -> None:
        name = event.get("step") or self._current
        if not name:
            return
        if event["kind"] == "step_start" or name not in self._courses:
            self._courses.pop(name, None)  # a part of the run that begins takes its place at the end
            self._courses[name] = Course(name, event["time"], event["time"])
        self._current = name
        self._courses[name] = replace(self._courses[name].after(event), updated=event["time"])

    def courses(self, running: bool = True) -> list[Course]:
        """In the order of their start; of a run that does not go on none does."""
        courses = list(self._courses.values())
        return courses if running else [ended(course) for course in courses]


def ended(course: Course) -> Course:
    """A step of a run that is over."""
    return replace(course, state="stopped") if course.state == "running" else course


def of_this_attempt(courses: Sequence[Course]) -> list[Course]:
    """Without steps that an earlier attempt of the run, by the same name, did not bring to their end."""
    opened = max((course.started for course in courses if course.name == FIRST_STEP), default=0.0)
    return [course for course in courses if course.state == "done" or course.started >= opened]
