"""Progress of long work, and single lines worth saying, as events.

Under the local run a step's progress becomes a live bar: the runner names a file in SRLM_EVENTS and steps append
events to it. Elsewhere (a pod's log) the same events are plain lines, at most one every few seconds. A step of a run
names a second file in SRLM_STEP_EVENTS, from which its course is recorded (core/course.py).
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from components.core.pace import Pace

RUN_EVENTS, STEP_EVENTS = "SRLM_EVENTS", "SRLM_STEP_EVENTS"
SECONDS_BETWEEN_LINES = 10.0
_CONTROLS = dict.fromkeys({*range(32), *range(127, 160), *range(0xD800, 0xE000)} - {ord("\n"), ord("\t")}, "\ufffd")
POINT_LINE = "training-point: "  # begins a line that holds one
# as Progress writes it where nobody takes events
PROGRESS_LINE = re.compile(r"(.+): (\d+)/(\d+), (?:starting$|done$|[\d.]+/(?:s|min|h), )")


_told = 0.0  # when this process said something last


def emit(kind: str, **fields: Any) -> bool:
    """Append an event to the runner's file and the step's; False where no runner shows it."""
    global _told
    _told = time.time()
    line = json.dumps({"kind": kind, "time": time.time(), **fields}) + "\n"
    for path in filter(None, (os.environ.get(RUN_EVENTS), os.environ.get(STEP_EVENTS))):
        with open(path, "a") as events:  # one short write in append mode: lines of several processes do not mix
            events.write(line)
    return bool(os.environ.get(RUN_EVENTS))


def heard() -> float:
    """When the step said something last, by this process or one that it has started, in seconds since the epoch."""
    path = os.environ.get(STEP_EVENTS)
    return max(_told, os.stat(path).st_mtime if path and os.path.exists(path) else 0.0)


def emit_point(step: int, values: dict[str, float]) -> None:
    """A point of a training's curve: an event of this step, or where a pod trains for it a line of the pod's log."""
    if os.environ.get(STEP_EVENTS):
        emit("point", at=step, values=values)  # "step" is the name of the run's step
    else:
        print(f"{POINT_LINE}{json.dumps({'step': step, 'values': values})}", file=sys.stderr, flush=True)


class EventFile:
    """The events that are appended to a file from now on, each read once."""

    def __init__(self, path: Path) -> None:
        path.touch()
        self._stream = path.open(errors="replace")
        self._stream.seek(0, os.SEEK_END)  # those of an earlier run of this name, or part of this one, were shown then
        self._partial = ""

    def new(self) -> Iterator[dict[str, Any]]:
        for line in self._stream:
            self._partial += line
            if self._partial.endswith("\n"):
                yield from read_event(self._partial)
                self._partial = ""


def read_event(line: str) -> Iterator[dict[str, Any]]:
    """The event of a line; none of what a full disk has left of one, alone or before the next one's beginning."""
    with suppress(ValueError):
        event = json.loads(line)
        if isinstance(event, dict) and {"kind", "time"} <= event.keys():
            yield event


def visible(text: str) -> str:
    """The text with signs in place of control characters: what models and data say never steers a terminal or a log."""
    return text.translate(_CONTROLS)


def say(text: str) -> None:
    """A line for whoever watches: what was decided and why."""
    text = visible(text)
    print(text, file=sys.stderr, flush=True)
    emit("say", text=text)


def warn(text: str) -> None:
    """A line that the user should not miss, though the work goes on."""
    text = visible(text)
    print(f"warning: {text}", file=sys.stderr, flush=True)
    emit("warn", text=text)


class Progress:
    """Counts work done out of `total`, with a rate and the time left."""

    def __init__(self, label: str, total: int, done: int = 0) -> None:
        self.label, self.total, self.done = label, total, done
        self._pace, self._last_line = Pace(), time.monotonic()
        self._show(force=True)

    def advance(self, count: int = 1) -> None:
        self.done += count
        self._pace = self._pace.after(time.monotonic(), self.done)
        self._show(force=self.done >= self.total)

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        emit("progress_end", label=self.label)

    def _show(self, force: bool) -> None:
        if emit("progress", label=self.label, done=self.done, total=self.total):
            return
        now = time.monotonic()
        if force or now - self._last_line >= SECONDS_BETWEEN_LINES:
            self._last_line = now
            pace = "done" if self.done >= self.total else self._pace.text(self.total, now) or "starting"
            print(f"{self.label}: {self.done}/{self.total}, {pace}", file=sys.stderr, flush=True)
