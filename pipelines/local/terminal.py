"""What a run came to, as tables on a terminal."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from components.core import page
from components.run.ledger_tables import ledger_line
from components.run.tables import contamination_table, drift_table, model_table, verdict_lines


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
