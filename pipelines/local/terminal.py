"""What a run came to, as tables on a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from components.core import page
from components.run.ledger_tables import ledger_line
from components.run.tables import contamination_table, drift_table, model_table, verdict_lines

SHORT = 8  # characters of a cell that is not folded
LINES = 3  # characters that a table with lines takes for a column


def show_summary(console: Console, summary: dict[str, Any]) -> None:
    """The final tables, the verdicts, and what was reused."""
    print_table(console, summary["run"], model_table(summary))
    for line in verdict_lines(summary):
        console.print(line, highlight=False, soft_wrap=True, markup=False)
    for table in filter(None, (drift_table(summary), contamination_table(summary))):
        print_table(console, "", table)
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


def print_table(console: Console, title: str, table: page.Table) -> None:
    """The table with its note below, in the first of these forms whose words fit: with lines; without; turned, a column
    for each row; or its rows one below the other. No word is cut."""
    head = table.columns
    rows = list(zip(head, *table.rows, strict=True))
    turned = page.Table(table.caption, rows[0], rows[1:])
    for shown, gap in ((table, LINES), (table, 2), (table, 1), (turned, 2), (turned, 1)):
        columns = list(zip(shown.columns, *shown.rows, strict=True))
        widths = [max(map(_least, column)) for column in columns]
        spare = console.width - sum(widths) - gap * len(widths) - 1
        if spare >= 0:
            for number, column in enumerate(columns):
                more = min(spare, max(map(len, column)) - widths[number])
                widths[number], spare = widths[number] + more, spare - more
            console.print(_rich_table(title, shown, widths, gap))
            break
    else:
        console.print(title, markup=False, highlight=False)
        for row in table.rows:
            console.print(f"{head[0]} {row[0]}", style="bold", markup=False, highlight=False)
            for name, cell in zip(head[1:], row[1:], strict=True):
                console.print(f"  {name}: {cell}", markup=False, highlight=False)
    if table.note:
        console.print(table.note, style="dim italic", markup=False, highlight=False)


def _least(cell: str) -> int:
    """Characters of a line that a cell needs: a short one, as "58.3 %", is not folded."""
    return len(cell) if len(cell) <= SHORT else max(map(len, cell.split()), default=0)


def _rich_table(title: str, table: page.Table, widths: Sequence[int], gap: int) -> Table:
    bare: dict[str, Any] = {"box": box.SIMPLE_HEAD, "padding": (0, gap - 1, 0, 0), "show_edge": False}
    shown = Table(title=escape(title), title_justify="left", **({} if gap == LINES else bare))
    for number, (column, width) in enumerate(zip(table.columns, widths, strict=True)):
        shown.add_column(escape(column), justify="right" if number else "left", width=width)
    for row in table.rows:
        shown.add_row(*map(escape, row))
    return shown
