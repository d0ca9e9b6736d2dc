"""A run as a tree: its phases, of the one that goes on its steps, of the step that goes on how far it is."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from components.core.course import FIRST_STEP, Course
from components.core.pace import duration
from components.core.progress import visible
from pipelines.watch.outline import Outline, Phase

WIDE = 80  # columns from which a bar has its rate, and more of it is seen
WIDEST = 100  # else times stand far away from what takes them
REASONS = 3  # of what was dropped, the most frequent
MARKS = {"done": ("✓", "green"), "running": ("●", "cyan"), "failed": ("✗", "red"), "stopped": ("■", "yellow")}
ASCII_MARKS = str.maketrans("✓●✗■↺○·", "+>x#=--")


@dataclass(frozen=True)
class Tree:
    """What is known of a run now. `outline` is empty where what is still to come is not known."""

    run: str
    outline: Outline
    courses: Sequence[Course]
    over: bool = False

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        wide = options.max_width >= WIDE
        rows = Table.grid(padding=(0, 1), expand=True)
        rows.width = min(options.max_width, WIDEST)
        rows.add_column(no_wrap=True, overflow="ellipsis", max_width=options.max_width * 2 // 3)
        rows.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
        rows.add_column(justify="right", no_wrap=True)
        for label, what, seconds in self._rows(wide):
            rows.add_row(label.translate(ASCII_MARKS) if options.ascii_only else label, what, seconds)
        yield self._head()
        yield rows
        if told := dropped(self.courses):
            yield Text(f"dropped so far: {told}", style="dim")

    def phases(self) -> tuple[Phase, ...]:
        """Those of the outline, and what is in none of them."""
        known = {step for phase in self.outline for step in phase.steps}
        others = [course.name for course in self.courses if course.name not in known]
        return (*self.outline, *(Phase(step, (step,)) for step in others))

    def _rows(self, wide: bool) -> Iterator[tuple[str, str | Table, str]]:
        courses = {course.name: course for course in self.courses}
        for phase in self.phases():
            begun = [courses[step] for step in phase.steps if step in courses]
            state = _state(begun, len(phase.steps))
            alone = phase.steps == (phase.title,)
            yield _phase_row(phase, begun, state, alone)
            if state in ("failed", "stopped", "running"):
                for step in phase.steps:
                    if not alone:
                        yield _step_row(step, courses.get(step))
                    if step in courses:
                        yield from _now(courses[step], wide)

    def _head(self) -> Text:
        """The run's name, and how far it is."""
        steps = sum(len(phase.steps) for phase in self.phases())
        done = sum(course.state == "done" for course in self.courses)
        told = [f"{done} of {steps} steps" if self.outline else f"{done} steps"]
        told += [clock(_seconds(self.courses, self.over))] if self.courses else []
        return Text.from_markup(f"[bold]{escape(self.run)}[/bold]  {', '.join(told)}")


def dropped(courses: Sequence[Course]) -> str:
    """What finished stages have dropped, the most frequent reasons first, of the data the sum; "" where nothing was."""
    reasons: Counter[str] = Counter()
    of_data = 0
    for course in courses:
        for made in course.made:
            of_data += sum(made.dropped.values()) if course.name == FIRST_STEP else 0
            reasons.update({} if course.name == FIRST_STEP else made.dropped)
    told = [f"{count:,} {visible(reason)}" for reason, count in reasons.most_common(REASONS) if count]
    rest = reasons.total() - sum(count for _, count in reasons.most_common(REASONS))
    told += [f"{rest:,} for other reasons"] if rest else []
    return "; ".join([*told, *([f"{of_data:,} of the human messages"] if of_data else [])])


def _state(begun: Sequence[Course], steps: int) -> str:
    """Of a phase by its steps; "" while none has begun."""
    states = {course.state for course in begun}
    for state in ("failed", "running", "stopped"):
        if state in states:
            return state
    if begun and len(begun) < steps:
        return "running"
    return "done" if begun else ""


def _phase_row(phase: Phase, begun: Sequence[Course], state: str, alone: bool) -> tuple[str, str, str]:
    reused = _reused(begun)
    mark, colour = ("↺", "green") if reused and state == "done" else MARKS.get(state, ("○", "dim"))
    title = f"[{colour}]{mark}[/{colour}] [{'bold' if begun else 'dim'}]{escape(phase.title)}[/]"
    steps = "" if alone else f"{len(phase.steps)} steps"
    if state == "running" and not alone:
        steps = f"{sum(course.state == 'done' for course in begun)} of {steps}"
    what = f"[dim]{', '.join(filter(None, (steps, 'reused' if reused else '')))}[/dim]"
    return title, what, clock(_seconds(begun)) if begun else ""


def _step_row(step: str, course: Course | None) -> tuple[str, str, str]:
    if course is None:
        return f"  [dim]· {escape(step)}[/dim]", "", ""
    reused = _reused([course]) and course.state == "done"
    mark, colour = ("↺", "green") if reused else MARKS[course.state]
    what = "reused" if reused else ", ".join(f"{count:,} {name}" for name, count in _kept(course).items())
    if lost := sum(count for made in course.made for count in made.dropped.values()):
        what += f", {lost:,} dropped"
    return f"  [{colour}]{mark}[/{colour}] {escape(step)}", f"[dim]{escape(what)}[/dim]", clock(_seconds([course]))


def _now(course: Course, wide: bool) -> Iterator[tuple[str, str | Table, str]]:
    """Of a step that goes on what it counts, or its last line; of one that failed why."""
    if course.state == "failed":
        yield f"    [red]{escape(visible(course.problem))}[/red]", "", ""
    if course.state != "running":
        return
    if course.silent_s:
        yield f"    [yellow]silent for {duration(course.silent_s)}[/yellow]", "", ""
    if course.label:
        left = course.pace.left_s(course.total, course.updated)
        yield f"    {escape(course.label)}", _bar(course, wide), "" if left is None else f"{clock(left)} left"
    elif course.stage or course.said:
        said = escape(visible(course.said.splitlines()[-1] if course.said else ""))
        yield f"    [dim]{escape(course.stage)}[/dim]", f"[dim]{said}[/dim]", ""


def _bar(course: Course, wide: bool) -> Table:
    bar = Table.grid(padding=(0, 1), expand=True)
    bar.add_column(ratio=1, min_width=4)
    bar.add_column(no_wrap=True)
    told = f"{course.count:,}/{course.total:,}" + (f" {course.pace.rate}" if wide else "")
    bar.add_row(
        ProgressBar(total=max(1, course.total), completed=course.count, complete_style="cyan", finished_style="cyan"),
        told,
    )
    return bar


def _kept(course: Course) -> Mapping[str, int]:
    kept: Counter[str] = Counter()
    for made in course.made:
        kept.update(made.kept)
    return kept


def _reused(courses: Sequence[Course]) -> bool:
    """Whether they made nothing anew, though they have stages."""
    made = [one for course in courses for one in course.made]
    return bool(made) and all(one.reused for one in made)


def _seconds(courses: Sequence[Course], over: bool = False) -> float:
    """From the start of the first to the end of the last, which is now where one goes on."""
    ends = [time.time() if one.state == "running" and not over else one.updated for one in courses]
    return max(ends) - min(one.started for one in courses)


def clock(seconds: float) -> str:
    """42 s, 1:05, 2:10:00: it moves every second where something goes on."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    minutes, hours = whole // 60, whole // 3600
    return f"{hours}:{minutes % 60:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"
