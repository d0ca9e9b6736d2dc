"""What a person sees of a local run: one line a step, a live bar for what is going on."""

from __future__ import annotations

import time
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from components.core import page
from components.run.ledger_tables import ledger_line
from components.run.tables import contamination_table, drift_table, model_table, verdict_lines

SECONDS_BETWEEN_LINES = 10.0  # where there is no terminal


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
        self._label, self._start, self._first = "", 0.0, 0  # of the bar: when it began, and how much was done then

    def __enter__(self) -> Screen:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def show(self, event: dict[str, Any]) -> None:
        match event["kind"]:
            case "step_start":
                self._number += 1
                self._clear_bar()
                self._line(f"[bold]\\[{self._number}/{self.steps}] {escape(event['step'])}[/bold]")
            case "stage_start":
                self._started[event["stage"]] = event["time"]
            case "stage_end":
                self._clear_bar()
                self._show_stage(event)
            case "progress":
                self._show_progress(event)
            case "progress_end" | "step_end":
                self._clear_bar()
            case "say":
                self._line(f"      [dim]{escape(event['text'])}[/dim]")
            case "warn":
                self._line(f"      [yellow]warning: {escape(event['text'])}[/yellow]")
            case "error":
                self.error = self.error or event

    def _show_stage(self, event: dict[str, Any]) -> None:
        seconds = event["time"] - self._started.get(event["stage"], event["time"])
        kept = ", ".join(f"{count:,} {name}" for name, count in event["kept"].items()) or "nothing kept"
        dropped = ", ".join(f"{count:,} {reason}" for reason, count in event["dropped"].items())
        done = "reused" if event["reused"] else f"done in {seconds:.0f} s"
        self._line(
            f"      {event['stage']} {done}: {kept}" + (f" [dim](dropped: {escape(dropped)})[/dim]" if dropped else "")
        )

    def _show_progress(self, event: dict[str, Any]) -> None:
        if self._label != event["label"]:
            self._clear_bar()
            self._label, self._start, self._first = event["label"], event["time"], event["done"]
            self._task = self._bars.add_task(event["label"], total=event["total"], rate="")
        seconds, made = event["time"] - self._start, event["done"] - self._first
        rate = f"{made / seconds:.2f}/s" if seconds > 0 else ""
        self._bars.update(self._task, completed=event["done"], rate=rate)
        if not self.console.is_terminal and time.monotonic() - self._last_line > SECONDS_BETWEEN_LINES:
            left = f", {(event['total'] - event['done']) * seconds / made:.0f} s left" if made else ""
            self._line(f"      {event['label']}: {event['done']}/{event['total']} {rate}{left}")

    def _line(self, text: str) -> None:
        self._last_line = time.monotonic()
        self._bars.console.print(text, highlight=False, soft_wrap=True)

    def _clear_bar(self) -> None:
        if self._task is not None:
            self._bars.remove_task(self._task)
        self._task, self._label = None, ""


def show_summary(console: Console, summary: dict[str, Any]) -> None:
    """The final tables, the verdicts, and what was reused."""
    console.print(rich_table(summary["run"], model_table(summary)))
    for line in verdict_lines(summary):
        console.print(line, highlight=False, soft_wrap=True, markup=False)
    for table in filter(None, (drift_table(summary), contamination_table(summary))):
        console.print(rich_table("", table))
    if summary["stopped_by"]:
        console.print(f"[yellow]the gate stopped the run at {summary['stopped_by'].upper()}[/yellow]")
    if line := ledger_line(summary.get("ledger") or {}):
        console.print(line, highlight=False, soft_wrap=True)
    stages = summary["stages"]
    reused = sum(stage["reused"] for stage in stages)
    if reused == len(stages):
        console.print(f"every stage was reused ({reused} of {reused}): no model was called, nothing was trained")
    elif reused:
        console.print(f"{reused} of {len(stages)} stages were reused")


def rich_table(title: str, table: page.Table) -> Table:
    """The table for a terminal, with its note below."""
    shown = Table(title=title, title_justify="left", caption=table.note, caption_justify="left")
    for number, column in enumerate(table.columns):
        shown.add_column(column, justify="right" if number else "left", no_wrap=not number)
    for row in table.rows:
        shown.add_row(*row)
    return shown
