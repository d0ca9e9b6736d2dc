"""What a person sees of a run while it goes on: a live tree on a terminal, else lines."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.live import Live
from rich.markup import escape

from components.core.course import Course, Made
from components.core.progress import visible
from pipelines.watch.outline import Outline
from pipelines.watch.tree import Tree

SECONDS_BETWEEN_LINES = 10.0  # of progress, where there is no terminal
FRAMES_A_SECOND = 4


class Screen:
    """Shows the steps of a run as they go on."""

    def __init__(self, console: Console, run: str, outline: Outline, live: bool | None = None) -> None:
        self.console, self.run, self.outline = console, run, outline
        self._live = live_wanted(console) if live is None else live
        self._tree = Tree(run, outline, ())
        self._view = Live(console=console, refresh_per_second=FRAMES_A_SECOND, get_renderable=lambda: self._tree)
        self._steps = sum(len(phase.steps) for phase in outline)
        self._seen: dict[str, Course] = {}
        self._started = 0
        self._last_line = 0.0

    def __enter__(self) -> Screen:
        if self._live:
            self._view.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._tree = Tree(self.run, self.outline, self._tree.courses, over=True)
            self._view.stop()

    def update(self, courses: Sequence[Course]) -> None:
        """Show what is new in them."""
        self._tree = Tree(self.run, self.outline, courses)
        for course in courses:
            before = self._seen.get(course.name)
            if before == course:
                continue
            self._seen[course.name] = course
            if before is None or before.started != course.started:
                self._started += 1
                before = Course(course.name, course.started, course.started)
                of = f"/{self._steps}" if self._steps else ""
                self._line(f"[bold]\\[{self._started}{of}] {escape(course.name)}[/bold]")
            for warning in _new_warnings(before, course):
                self._warn(course.name, visible(warning))
            for line in self._news(before, course):
                self._line(line)

    def _news(self, before: Course, course: Course) -> Iterator[str]:
        """What lines tell beside: what was said, what is finished, and now and then how far the rest is."""
        if course.said != before.said and course.said not in course.warnings[-1:]:
            yield f"      [dim]{escape(visible(course.said))}[/dim]"
        for made in course.made[len(before.made) :]:
            yield f"      {_made(made)}"
        if course.label and time.monotonic() - self._last_line > SECONDS_BETWEEN_LINES:
            pace = course.pace.text(course.total, course.updated)
            yield f"      {course.label}: {course.count}/{course.total}" + (f", {pace}" if pace else "")

    def _line(self, text: str) -> None:
        self._last_line = time.monotonic()
        if not self._live:
            self.console.print(text, highlight=False, soft_wrap=True)

    def _warn(self, step: str, warning: str) -> None:
        """Above the tree it names its step, as no line before it does."""
        if self._live:
            self.console.print(f"[yellow]{escape(step)}: {escape(warning)}[/yellow]", highlight=False)
        else:
            self._line(f"      [yellow]warning: {escape(warning)}[/yellow]")


def live_wanted(console: Console) -> bool:
    """Not in a pipe, a pod, a dumb terminal or a CI system, whatever colours are wished for."""
    return console.is_terminal and not console.is_dumb_terminal and console.file.isatty() and not os.environ.get("CI")


def _new_warnings(before: Course, course: Course) -> Sequence[str]:
    """Of a step the last ones are kept; one that was seen is not told again."""
    more = len(course.warnings) - len(before.warnings)
    return course.warnings[-more:] if more > 0 else [one for one in course.warnings if one not in before.warnings]


def _made(made: Made) -> str:
    kept = ", ".join(f"{count:,} {name}" for name, count in made.kept.items()) or "nothing kept"
    dropped = ", ".join(f"{count:,} {reason}" for reason, count in made.dropped.items())
    done = "reused" if made.reused else f"done in {made.seconds:.0f} s"
    told = f" [dim](dropped: {escape(visible(dropped))})[/dim]" if dropped else ""
    return f"{escape(made.name)} {done}: {escape(visible(kept))}{told}"
