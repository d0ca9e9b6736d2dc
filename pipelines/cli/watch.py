"""`srlm watch`: a run that goes on, seen from elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from components.core.errors import UserError
from pipelines.cli.options import Ca, Cookie, Debug, Host, Namespace, RunName, RunStore, console
from pipelines.cli.runs import every_kind

if TYPE_CHECKING:
    from pipelines.watch.reading import Reading
    from pipelines.watch.screen import Screen

commands = typer.Typer()

SECONDS_BETWEEN_READS = 2.0  # of a journal, whose steps write every 3 s: what is shown is at most 5 s old
PATIENCE_S = 120.0  # with a store or a cluster that does not answer


@commands.command()
def watch(
    run: RunName,
    store: RunStore = "",
    namespace: Namespace = "",
    host: Host = "",
    ca: Ca = "",
    cookie: Cookie = "",
    debug: Debug = False,
) -> None:
    """Show a run while it goes on, on this machine or a cluster.

    Exit code 0: it finished, 1: it ended otherwise.

    Example: srlm watch demo-20261126-035728-3904 -n training
    """
    from pipelines.watch.screen import Screen

    try:
        with source(run, store, namespace, host) as read:
            reading = read()
            with Screen(console, run, reading.outline) as screen:
                reading = _until_over(read, reading, screen)
    except KeyboardInterrupt:
        _print(f"{run} goes on: srlm watch {run} shows it again, srlm cancel {run} ends it")
        raise typer.Exit(130) from None
    for course in reading.courses:
        if course.state == "failed":
            _print(course.text, style="red")
    _print(f"{run}: {reading.state}")
    raise typer.Exit(0 if reading.ended_well else 1)


@contextmanager
def source(run: str, store: str, namespace: str, host: str) -> Iterator[Callable[[], Reading]]:
    """What tells how far a run is: its records where a store is named, else whatever executes it. Raises UserError
    where there is no such run."""
    from pipelines.local.records import records_of
    from pipelines.runs import find

    if store:
        yield records_of(store, run).read
        return
    answers = find(every_kind(host, namespace), run).without_submissions()
    answers.require(run)
    kind, known = min(answers.runs, key=lambda pair: pair[1].kind in ("submission", "orphaned"))
    with kind.watched(known) as read:
        yield read


def _print(text: str, style: str = "") -> None:
    console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)


def _until_over(read: Callable[[], Reading], reading: Reading, screen: Screen) -> Reading:
    """Shows each reading; returns the last one. Raises UserError where none can be had for a while."""
    since = time.monotonic()
    while True:
        screen.outline = reading.outline
        screen.update(reading.courses)
        if reading.over:
            return reading
        time.sleep(SECONDS_BETWEEN_READS)
        try:
            reading, since = read(), time.monotonic()
        except UserError:
            if time.monotonic() - since > PATIENCE_S:
                raise
