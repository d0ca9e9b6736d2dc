"""What a step of a run does at this moment, kept in the run's journal, where `srlm status` finds it from anywhere.

Its source are the step's events (core/progress.py), those of processes that it starts among them. Kubernetes and
Kubeflow know which pod runs, but not what it does, nor what it said once the pod is gone (issue 14).
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from components.core.errors import UserError
from components.core.journal import CONTEXT, read_journal, write_journal
from components.core.progress import STEP_EVENTS, EventFile
from components.core.scratch import passing_folder, remove_left, scratch_root
from components.core.store import join, open_store

SECONDS_BETWEEN_READS = 1.0
SECONDS_BETWEEN_WRITES = 5.0  # each is a request to the store
SILENT_AFTER_S = 60.0  # a step that goes on writes at least every half of it
END_TIMEOUT_S = 15.0  # for a store that does not take the last word


@dataclass(frozen=True)
class Course:
    """A step as its journal entry. Times are in seconds since 1970.

    `state` is running, done, failed, or stopped: ended from outside. `stage` is what it makes now, `label` what it
    counts there (`count` of `total`, since `counting_since`, when it had `first`); `said` is its last line.
    """

    name: str
    started: float
    updated: float
    state: str = "running"
    stage: str = ""
    label: str = ""
    count: int = 0
    total: int = 0
    counting_since: float = 0.0
    first: int = 0
    said: str = ""
    problem: str = ""
    remedy: str = ""

    def after(self, event: dict[str, Any]) -> Course:
        """The course as one more event tells it."""
        match event["kind"]:
            case "stage_start":
                return replace(self, stage=event["stage"])
            case "stage_end" | "progress_end":
                return replace(self, label="", count=0, total=0)
            case "progress" if event["label"] == self.label:
                return replace(self, count=event["done"], total=event["total"])
            case "progress":
                counted = {"label": event["label"], "count": event["done"], "total": event["total"]}
                return replace(self, **counted, counting_since=event["time"], first=event["done"])
            case "say" | "warn":
                return replace(self, said=event["text"])
            case "error" if self.state == "running":
                return replace(self, state="failed", problem=event["problem"], remedy=event["remedy"])
            case "step_end":
                return replace(self, state="done")
        return self

    @property
    def text(self) -> str:
        """As a person reads it: "judge M1: judging 60/64, 12 s left"; of a failed step problem and remedy."""
        if self.state == "failed":
            return f"{self.name}: {self.problem}. {self.remedy}"
        if self.state != "running" or not self.label:
            return f"{self.name}: {self.state}" if self.state != "running" else self.name
        made, seconds = self.count - self.first, self.updated - self.counting_since
        left = f", {(self.total - self.count) * seconds / made:.0f} s left" if made > 0 and seconds > 0 else ""
        return f"{self.name}: {self.label} {self.count}/{self.total}{left}"

    @property
    def silent_s(self) -> float:
        """For how long a running step has said nothing; 0 where that is no longer than usual."""
        silence = time.time() - self.updated if self.state == "running" else 0.0
        return silence if silence > SILENT_AFTER_S else 0.0


@contextmanager
def recorded(root: str, run: str, name: str) -> Iterator[None]:
    """Keep the course of this step in the journal while the context lasts. What a store does not take is not missed,
    and a run that was refused before it was open leaves nothing."""
    start, over = time.time(), threading.Event()
    with contextlib.suppress(UserError):  # the step says it
        open_store(root)  # before there are two threads: it imports its client
    before = os.environ.get(STEP_EVENTS)
    remove_left(scratch_root())  # of a killed process whose work is finished nobody else might do it
    with passing_folder(Path(tempfile.gettempdir()), "srlm-step-") as folder:
        events = folder / "events.jsonl"
        recorder = threading.Thread(
            target=_record, args=(root, run, Course(name, start, start), EventFile(events), over), daemon=True
        )
        os.environ[STEP_EVENTS] = str(events)
        recorder.start()
        try:
            yield
        finally:
            os.environ.pop(STEP_EVENTS) if before is None else os.environ.update({STEP_EVENTS: before})
            over.set()
            recorder.join(END_TIMEOUT_S)


def _record(root: str, run: str, course: Course, events: EventFile, over: threading.Event) -> None:
    written: Course | None = None
    opened = False
    while True:
        last = over.wait(SECONDS_BETWEEN_READS if written else 0)  # seen before the events are read for the last time
        for event in events.new():
            course = course.after(event)
        if last and course.state == "running":
            course = replace(course, state="stopped")
        now = time.time()
        since = now - written.updated if written else SILENT_AFTER_S
        changed = written is None or replace(course, updated=written.updated) != written
        if last or since >= SILENT_AFTER_S / 2 or (changed and since >= SECONDS_BETWEEN_WRITES):
            written = course = replace(course, updated=now)
            with contextlib.suppress(UserError):
                opened = opened or open_store(join(root, "runs", run)).read(CONTEXT) is not None
                if opened:
                    write_journal(root, run, "steps", _file_name(course.name), asdict(course))
        if last:
            return


def _file_name(step: str) -> str:
    """ "pair M1's answers" as part of an object's name."""
    return "-".join("".join(letter if letter.isalnum() else " " for letter in step).lower().split())


def read_courses(root: str, run: str) -> list[Course]:
    """The courses of a run's steps, in the order in which they started; none of a run that no step has begun."""
    entries = read_journal(root, run, "steps")  # a newer version may say more of a step
    return [Course(**{name: entry[name] for name in Course.__annotations__ if name in entry}) for entry in entries]
