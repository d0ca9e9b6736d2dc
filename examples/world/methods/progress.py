"""How far the comparison is: which runs have ended, how fast they are made, and when the last one will be."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from examples.world.methods.here import Ended


@contextmanager
def progress(console: Console, runs: int) -> Iterator[Callable[[str, Ended], None]]:
    """What to call with the name of each run that has ended: it prints a line, below which a terminal has a bar."""
    began, past, made = time.monotonic(), 0, 0
    columns = (TextColumn("runs"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=runs)

        def ended(name: str, one: Ended) -> None:
            nonlocal past, made
            past += 1
            made += not one.found
            left = time_left(runs - past, made, time.monotonic() - began)
            bar.update(task, advance=1, description=left)
            console.print(f"{past}/{runs} {name}: {came_to(one)}; {left}", highlight=False, soft_wrap=True)

        yield ended


def came_to(run: Ended) -> str:
    """The last model and its right answers, or what ended the run before its time."""
    if run.problem:
        return run.problem
    last, stopped = run.summary["models"][-1], run.summary["stopped_by"]
    share = last["metrics"].get("exact_answers")
    told = f"{last['name'].upper()} has {'-' if share is None else f'{share:.3f}'} right"
    return f"stopped by the gate, {told}" if stopped else told


def time_left(runs: int, made: int, seconds: float) -> str:
    """How fast runs are made, and how long so many more take; one that was there already is no measure of it."""
    if not made:
        return "found"
    per_hour = made / seconds * 3600
    return f"{per_hour:.1f} runs/h" + (f", {60 * runs / per_hour:.0f} min left" if runs else "")
