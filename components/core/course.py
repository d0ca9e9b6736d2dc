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
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from components.core.errors import UserError
from components.core.journal import CONTEXT, read_entry, read_journal, write_journal
from components.core.ledger import Ledger, opened_ledger
from components.core.pace import Pace, Sample
from components.core.progress import STEP_EVENTS, EventFile
from components.core.scratch import passing_folder, remove_left, scratch_root
from components.core.store import join, open_store

FIRST_STEP = "open the run, import data"  # with it an attempt begins
SECONDS_BETWEEN_READS = 1.0
SECONDS_BETWEEN_WRITES = 3.0  # each is a request to the store
SILENT_AFTER_S = 60.0  # a step that goes on writes at least every half of it
WARNINGS = 20  # of a step that are kept
END_TIMEOUT_S = 15.0  # for a store that does not take the last word


@dataclass(frozen=True)
class Made:
    """A stage that a step has made, or found again: how long it took, what it kept and dropped of its records."""

    name: str
    seconds: float
    reused: bool
    kept: dict[str, int]
    dropped: dict[str, int]


@dataclass(frozen=True)
class Course:
    """A step as its journal entry. Times are in seconds since 1970.

    `state` is running, done, failed, or stopped: ended from outside. `stage` is what it makes now, since `stage_since`,
    `label` what it counts there (`count` of `total`, since `counting_since`, when it had `first`; `samples` are its
    pace); `made` are its finished stages; `said` is its last line, `warnings` are the last that it gave. `spent` is
    what it has taken beside its stages.
    """

    name: str
    started: float
    updated: float
    state: str = "running"
    stage: str = ""
    stage_since: float = 0.0
    label: str = ""
    count: int = 0
    total: int = 0
    counting_since: float = 0.0
    first: int = 0
    samples: Sequence[Sample] = ()
    made: tuple[Made, ...] = ()
    said: str = ""
    warnings: tuple[str, ...] = ()
    problem: str = ""
    remedy: str = ""
    spent: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_entry(cls, entry: dict[str, Any]) -> Course:
        """Of a journal entry; what another version of this program wrote into it beside is passed over."""
        known = {name: value for name, value in entry.items() if name in cls.__dataclass_fields__}
        made = tuple(Made(**one) for one in entry.get("made", ()))
        samples = tuple((time, count) for time, count in entry.get("samples", ()))
        return cls(**known | {"made": made, "samples": samples, "warnings": tuple(entry.get("warnings", ()))})

    def after(self, event: dict[str, Any]) -> Course:
        """The course as one more event tells it."""
        match event["kind"]:
            case "stage_start":
                return replace(self, stage=event["stage"], stage_since=event["time"])
            case "stage_end":
                seconds = event["time"] - (self.stage_since if event["stage"] == self.stage else event["time"])
                made = Made(event["stage"], round(seconds, 1), event["reused"], event["kept"], event["dropped"])
                return replace(self, stage="", label="", count=0, total=0, samples=(), made=(*self.made, made))
            case "progress_end":
                return replace(self, label="", count=0, total=0, samples=())
            case "progress" if event["label"] == self.label:
                pace = self.pace.after(event["time"], event["done"]) if event["done"] > self.count else self.pace
                return replace(self, count=event["done"], total=event["total"], samples=pace.samples)
            case "progress":
                counted = {"label": event["label"], "count": event["done"], "total": event["total"], "samples": ()}
                return replace(self, **counted, counting_since=event["time"], first=event["done"])
            case "say":
                return replace(self, said=event["text"])
            case "warn":
                kept = (*self.warnings, event["text"])[-WARNINGS:]
                return replace(self, said=event["text"], warnings=kept)
            case "error" if self.state == "running":
                return replace(self, state="failed", problem=event["problem"], remedy=event["remedy"])
            case "step_end" if self.state == "running":
                return replace(self, state="done")
        return self

    @property
    def pace(self) -> Pace:
        return Pace(self.samples)

    @property
    def text(self) -> str:
        """As a person reads it: "judge M1: judging 60/64, 2.1/s, 12 s left"; of a failed step problem and remedy."""
        if self.state == "failed":
            return f"{self.name}: {self.problem}. {self.remedy}"
        if self.state != "running" or not self.label:
            return f"{self.name}: {self.state}" if self.state != "running" else self.name
        pace = self.pace.text(self.total, self.updated)
        return f"{self.name}: {self.label} {self.count}/{self.total}" + (f", {pace}" if pace else "")

    @property
    def silent_s(self) -> float:
        """For how long a running step has said nothing; 0 where that is no longer than usual."""
        silence = time.time() - self.updated if self.state == "running" else 0.0
        return silence if silence > SILENT_AFTER_S else 0.0


_STEP: ContextVar[str] = ContextVar("step", default=FIRST_STEP)  # the one at work


def noted(root: str, run: str, kind: str, name: str, step: str = "") -> dict[str, Any] | None:
    """The journal's entry of that kind and name, where this attempt of the run wrote it: the pod that did was lost.
    What the next one finds again of its work has been told, with what it took. `step` is the one at work."""
    if (step or _STEP.get()) == FIRST_STEP:
        return None
    first, entry = read_entry(root, run, "steps", _file_name(FIRST_STEP)), read_entry(root, run, kind, name)
    return entry if first and entry and entry.get("started", 0.0) >= first["started"] else None


@contextmanager
def recorded(root: str, run: str, name: str) -> Iterator[None]:
    """Keep the course of this step in the journal while the context lasts. What a store does not take is not missed,
    and a run that was refused before it was open leaves nothing. A step that this attempt had done, and that finds all
    of it again, keeps its course."""
    start, over = time.time(), threading.Event()
    with contextlib.suppress(UserError):  # the step says it
        open_store(root)  # before there are two threads: it imports its client
    before = os.environ.get(STEP_EVENTS)
    remove_left(scratch_root())  # of a killed process whose work is finished nobody else might do it
    with opened_ledger("unattributed") as ledger, passing_folder(Path(tempfile.gettempdir()), "srlm-step-") as folder:
        events = folder / "events.jsonl"
        known = (root, run, Course(name, start, start), EventFile(events), over, ledger)
        recorder = threading.Thread(target=_record, args=known, daemon=True)
        os.environ[STEP_EVENTS] = str(events)
        recorder.start()
        at_work = _STEP.set(name)
        try:
            yield
        finally:
            os.environ.pop(STEP_EVENTS) if before is None else os.environ.update({STEP_EVENTS: before})
            over.set()
            recorder.join(END_TIMEOUT_S)
            _STEP.reset(at_work)


def _record(root: str, run: str, course: Course, events: EventFile, over: threading.Event, ledger: Ledger) -> None:
    written: Course | None = None
    opened, earlier = False, None
    with contextlib.suppress(UserError):
        earlier = noted(root, run, "steps", _file_name(course.name), course.name)
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
            written = course = replace(course, updated=now, spent=ledger.total().model_dump())
            told = earlier if earlier and _found_again(earlier, course) else asdict(course)
            with contextlib.suppress(UserError):
                opened = opened or open_store(join(root, "runs", run)).read(CONTEXT) is not None
                if opened:
                    write_journal(root, run, "steps", _file_name(course.name), told)
        if last:
            return


def _found_again(earlier: dict[str, Any], course: Course) -> bool:
    """Whether a step that was done before is done now, and has made nothing anew of what it made then."""
    done = earlier["state"] == course.state == "done"
    return done and bool(course.made) and all(one.reused for one in course.made)


def _file_name(step: str) -> str:
    """ "pair M1's answers" as part of an object's name."""
    return "-".join("".join(letter if letter.isalnum() else " " for letter in step).lower().split())


def read_courses(root: str, run: str) -> list[Course]:
    """The courses of a run's steps, in the order in which they started; none of a run that no step has begun."""
    return [Course.from_entry(entry) for entry in read_journal(root, run, "steps")]
