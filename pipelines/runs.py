"""Runs of every kind: on this machine, as a Job, on Kubeflow Pipelines. Kinds that cannot be queried are reported."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

from components.core.errors import UserError
from components.core.pace import duration
from pipelines.watch.reading import Reading

RECENT = 20  # runs of a kind in a table
_LABEL_VALUE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_DNS_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


@dataclass(frozen=True)
class Run:
    """A run: its kind, its state in a word, since when, and the step that it is at, or why it failed ("": not known).

    `id` is what its own system calls it; `labels` are the values that the run's label of its objects may have. `store`
    is where it keeps its records, "" where the namespace's config map says it. `notes` tell what could not be asked.
    """

    kind: str
    name: str
    state: str
    started: datetime | None = None
    step: str = ""
    id: str = ""
    labels: tuple[str, ...] = ()
    store: str = ""
    notes: tuple[str, ...] = ()

    @property
    def age(self) -> str:
        return age(self.started)


class Kind(Protocol):
    """One kind of runs. Every method raises UserError where the kind cannot be queried."""

    name: str

    def recent(self) -> list[Run]:
        """The newest runs, newest first."""

    def find(self, run: str) -> list[Run]:
        """The runs that go by this name (or id)."""

    def with_steps(self, runs: list[Run]) -> list[Run]:
        """Runs of this kind at the step that they are at, or with why they failed, as far as it has to be asked for."""

    def watched(self, run: Run) -> AbstractContextManager[Callable[[], Reading]]:
        """What tells, each time that it is called, what is known of the run then; may be used in the context."""

    def details(self, run: Run) -> list[str]:
        """What is known of it beyond its state, in lines; on clusters the state of its pods."""

    def log(self, run: Run, follow: bool) -> Iterator[str]:
        """The lines of its log; with `follow` until it ends."""

    def cancel(self, run: Run) -> list[str]:
        """End it and free its servers; returns what was removed, in lines: nothing the second time."""


@dataclass
class Answers:
    """The runs that the kinds know, and for each kind that could not be queried why."""

    runs: list[tuple[Kind, Run]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def without_submissions(self) -> Answers:
        """Without the Jobs whose work is done: they submitted runs that stand among these by the same name."""
        submitted = {run.name for _, run in self.runs if run.kind == "kubeflow"}
        return Answers(
            [(kind, run) for kind, run in self.runs if run.kind != "submission" or run.name not in submitted],
            self.errors,
        )

    def with_steps(self) -> Answers:
        """With where each run is, which may take more requests than to find it."""
        kinds = dict.fromkeys(kind for kind, _ in self.runs)
        told = {kind: iter(kind.with_steps([run for its, run in self.runs if its is kind])) for kind in kinds}
        return Answers([(kind, next(told[kind])) for kind, _ in self.runs], self.errors)

    def require(self, run: str) -> None:
        """Raises UserError where no kind knows the run."""
        if not self.runs:
            errors = "; ".join(self.errors)
            raise UserError(
                f"there is no run {run!r}" + (f" where it could be looked for ({errors})" if errors else ""),
                "srlm status lists the runs; --namespace and --host say where to look.",
            )


def recent(kinds: Sequence[Kind]) -> Answers:
    return _query(kinds, lambda kind: kind.recent())


def find(kinds: Sequence[Kind], run: str) -> Answers:
    return _query(kinds, lambda kind: kind.find(run))


def _query(kinds: Sequence[Kind], query: Callable[[Kind], list[Run]]) -> Answers:
    answers = Answers()
    for kind in kinds:
        try:
            answers.runs += [(kind, run) for run in query(kind)]
        except UserError as error:
            answers.errors.append(f"{kind.name}: {error.problem}")
    return answers


def age(since: datetime | None) -> str:
    """How long ago, in the largest unit that counts at least two: 95 s, 12 min, 30 h, 4 d."""
    return "?" if since is None else duration((datetime.now(UTC) - since).total_seconds())


def is_label_value(text: str) -> bool:
    """Whether a label may hold it; the API refuses a selector with anything else (HTTP 400)."""
    return bool(_LABEL_VALUE.fullmatch(text))


def check_run_name(run: str) -> None:
    """Raises UserError for a name that no Job, Deployment or Service can have; their pods carry it as a label, too.

    Runs on this machine keep to it: their name is a folder's, there and in the store.
    """
    if not _DNS_LABEL.fullmatch(run):
        raise UserError(
            f"a run cannot be named {run!r}",
            "Give --run small letters, digits and -, 63 at most.",
        )
