"""Where a cluster's runs are, as their own records in the store tell it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from components.core.course import Course, read_courses
from components.core.errors import UserError
from components.core.pace import duration
from components.kubernetes.client import Cluster
from components.kubernetes.settings import ClusterSettings
from pipelines.cluster.reach import store_of_runs
from pipelines.local.records import Records
from pipelines.runs import Run
from pipelines.watch.reading import ENDED_WELL, Reading, of_this_attempt


def with_steps(cluster: Cluster, runs: Sequence[Run]) -> list[Run]:
    """The runs at the steps that they are at, or with what ended them; those that ended well as they are.

    Where the store cannot be read from here they stay as their system tells them, with a note of why.
    """
    if all(run.state in ENDED_WELL for run in runs):
        return list(runs)
    try:
        with store_of_runs(cluster, ClusterSettings()) as store:
            return [run if run.state in ENDED_WELL else _with_step(run, run.store or store) for run in runs]
    except UserError as error:
        return [not_told(run, error) for run in runs]


@contextmanager
def watched(cluster: Cluster, run: Run, state: Callable[[], str]) -> Iterator[Callable[[], Reading]]:
    """What tells how far a run is, by its own records; `state` is what its system says of it. Raises UserError where
    the store cannot be read from here."""
    with store_of_runs(cluster, ClusterSettings()) as store:
        if not (run.store or store):
            raise UserError("the namespace's config map names no store", "Set SRLM_STORE, or give --store.")
        records = Records(run.store or store, (*run.labels, run.name))
        yield lambda: records.read(state())


def not_told(run: Run, error: UserError) -> Run:
    """A run with a note of why its record cannot be read."""
    return replace(run, notes=(*run.notes, f"what its steps say in the store is not known: {error.problem}"))


def _with_step(run: Run, store: str) -> Run:
    """The step of a run by its own record, where a store is named and a step has begun."""
    names = dict.fromkeys((*run.labels, run.name))
    courses = of_this_attempt(next(filter(None, (read_courses(store, name) for name in names)), []) if store else [])
    at = {state: [one for one in courses if one.state == state] for state in ("running", "failed")}
    if run.state == "failed" and at["failed"]:
        return replace(run, step="; ".join(course.text for course in at["failed"]))
    if run.state == "failed" and at["running"]:
        return replace(run, step=f"{run.step or 'it ended'} while at {_text(at['running'])}")
    return replace(run, step=_text(at["running"])) if at["running"] else run


def _text(courses: Sequence[Course]) -> str:
    return ", ".join(one.text + (f" (silent for {duration(one.silent_s)})" if one.silent_s else "") for one in courses)
