"""Runs of every kind: on this machine, as a Job, on Kubeflow Pipelines. Who cannot be asked is said."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol, TypeVar

from components.core.errors import UserError

RECENT = 20  # runs of a kind in a table
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Run:
    """A run: who walks it, its state in a word, since when, and the step that it is at (empty where not known).

    `id` is what its own system calls it; `labels` are the values that the run's label of its objects may have.
    """

    kind: str
    name: str
    state: str
    started: datetime | None = None
    step: str = ""
    id: str = ""
    labels: tuple[str, ...] = ()

    @property
    def age(self) -> str:
        return age(self.started)


class Kind(Protocol):
    """One kind of runs. Every verb raises UserError where the kind cannot be asked."""

    name: str

    def recent(self) -> list[Run]:
        """The newest runs, newest first."""

    def find(self, run: str) -> list[Run]:
        """The runs that go by this name (or id)."""

    def said(self, run: Run) -> list[str]:
        """What is to be known of it beyond its state, in lines: for clusters what its pods say."""

    def log(self, run: Run, follow: bool) -> Iterator[str]:
        """The lines of its log; with `follow` until it ends."""

    def cancel(self, run: Run) -> list[str]:
        """End it and free its servers; what was removed, in lines. Nothing is left to do the second time."""


@dataclass
class Answers:
    """What the kinds answered, and why some could not be asked."""

    runs: list[tuple[Kind, Run]] = field(default_factory=list)
    silent: list[str] = field(default_factory=list)

    def require(self, run: str) -> None:
        """Raises UserError where nobody knows the run."""
        if not self.runs:
            asked = "; ".join(self.silent)
            raise UserError(
                f"there is no run {run!r}" + (f" where it could be looked for ({asked})" if asked else ""),
                "srlm status lists the runs; --namespace and --host say where to look.",
            )


def recent(kinds: Sequence[Kind]) -> Answers:
    return _ask(kinds, lambda kind: kind.recent())


def find(kinds: Sequence[Kind], run: str) -> Answers:
    return _ask(kinds, lambda kind: kind.find(run))


def _ask(kinds: Sequence[Kind], question: Callable[[Kind], list[Run]]) -> Answers:
    answers = Answers()
    for kind in kinds:
        try:
            answers.runs += [(kind, run) for run in question(kind)]
        except UserError as error:
            answers.silent.append(f"{kind.name}: {error.problem}")
    return answers


def age(since: datetime | None) -> str:
    """How long ago, in the largest unit that counts at least two: 95 s, 12 min, 30 h, 4 d."""
    if since is None:
        return "?"
    seconds = max(0.0, (datetime.now(UTC) - since).total_seconds())
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size:.0f} {unit}"
    return f"{seconds:.0f} s"
