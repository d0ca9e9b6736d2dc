"""What a person sees of a local run: one line a step, a live bar for what is going on."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from components.run.tables import (
    DRIFT_CAPTION,
    MODEL_CAPTION,
    MODEL_COLUMNS,
    drift_columns,
    drift_rows,
    model_rows,
    verdict_lines,
)

SECONDS_BETWEEN_LINES = 10.0  # where there is no terminal


class EventFile:
    """The events that steps append to a file, each read once."""

    def __init__(self, path: Path) -> None:
        path.touch()
        self._stream = path.open()
        self._stream.seek(0, os.SEEK_END)  # those of an earlier run of this name, or part of this one, were shown then
        self._partial = ""

    def new(self) -> Iterator[dict[str, Any]]:
        for line in self._stream:
            self._partial += line
            if self._partial.endswith("\n"):
                yield json.loads(self._partial)
                self._partial = ""


class Screen:
    """Shows events; remembers the first error."""

    def __init__(self, console: Console, steps: int) -> None:
        self.console, self.steps = console, steps
        self.error: dict[str, Any] | None = None
        self._number = 0
        self._started: dict[str, float] = {}
        self._last_line = 0.0
        self._bars = Progress(
            TextColumn("      {task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task: Any = None
        self._label: tuple[str, float] = ("", 0.0)

    def __enter__(self) -> Screen:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def show(self, event: dict[str, Any]) -> None:
        getattr(self, f"_{event['kind']}")(event)

    def _step_start(self, event: dict[str, Any]) -> None:
        self._number += 1
        self._clear_bar()
        self._line(f"[bold]\\[{self._number}/{self.steps}] {escape(event['step'])}[/bold]")

    def _step_end(self, event: dict[str, Any]) -> None:
        self._clear_bar()

    def _stage_start(self, event: dict[str, Any]) -> None:
        self._started[event["stage"]] = event["time"]

    def _stage_end(self, event: dict[str, Any]) -> None:
        self._clear_bar()
        seconds = event["time"] - self._started.get(event["stage"], event["time"])
        kept = ", ".join(f"{count:,} {name}" for name, count in event["kept"].items()) or "nothing kept"
        dropped = ", ".join(f"{count:,} {reason}" for reason, count in event["dropped"].items())
        done = "reused" if event["reused"] else f"done in {seconds:.0f} s"
        self._line(
            f"      {event['stage']} {done}: {kept}" + (f" [dim](dropped: {escape(dropped)})[/dim]" if dropped else "")
        )

    def _progress(self, event: dict[str, Any]) -> None:
        if self._label[0] != event["label"]:
            self._clear_bar()
            self._label = (event["label"], event["time"])
            self._first = event["done"]
            self._task = self._bars.add_task(event["label"], total=event["total"], rate="")
        seconds = event["time"] - self._label[1]
        rate = f"{(event['done'] - self._first) / seconds:.2f}/s" if seconds > 0 else ""
        self._bars.update(self._task, completed=event["done"], rate=rate)
        if not self.console.is_terminal and time.monotonic() - self._last_line > SECONDS_BETWEEN_LINES:
            made = event["done"] - self._first
            left = f", {(event['total'] - event['done']) * seconds / made:.0f} s left" if made else ""
            self._line(f"      {event['label']}: {event['done']}/{event['total']} {rate}{left}")

    def _progress_end(self, event: dict[str, Any]) -> None:
        self._clear_bar()

    def _say(self, event: dict[str, Any]) -> None:
        self._line(f"      [dim]{escape(event['text'])}[/dim]")

    def _warn(self, event: dict[str, Any]) -> None:
        self._line(f"      [yellow]warning: {escape(event['text'])}[/yellow]")

    def _error(self, event: dict[str, Any]) -> None:
        self.error = self.error or event

    def _line(self, text: str) -> None:
        self._last_line = time.monotonic()
        self._bars.console.print(text, highlight=False, soft_wrap=True)

    def _clear_bar(self) -> None:
        if self._task is not None:
            self._bars.remove_task(self._task)
        self._task, self._label = None, ("", 0.0)


def show_summary(console: Console, summary: dict[str, Any]) -> None:
    """The final tables, the verdicts, and what was reused."""
    console.print(_table(summary["run"], MODEL_COLUMNS, model_rows(summary), MODEL_CAPTION))
    for line in verdict_lines(summary):
        console.print(line, highlight=False, soft_wrap=True, markup=False)
    if summary["drift"]:
        console.print(_table("", drift_columns(summary), drift_rows(summary), DRIFT_CAPTION))
    if summary["stopped_by"]:
        console.print(f"[yellow]the gate stopped the run at {summary['stopped_by'].upper()}[/yellow]")
    stages = summary["stages"]
    reused = sum(stage["reused"] for stage in stages)
    if reused == len(stages):
        console.print(f"every stage was reused ({reused} of {reused}): no model was called, nothing was trained")
    elif reused:
        console.print(f"{reused} of {len(stages)} stages were reused")


def _table(title: str, columns: Sequence[str], rows: Sequence[tuple[str, ...]], caption: str) -> Table:
    table = Table(title=title, title_justify="left", caption=caption, caption_justify="left")
    for column in columns:
        table.add_column(column, justify="left" if column == columns[0] else "right", no_wrap=column == columns[0])
    for row in rows:
        table.add_row(*row)
    return table
