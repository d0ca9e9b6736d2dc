"""Small HTML pages that a step leaves for people: the KFP UI shows them in a frame some 530 pixels wide."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from components.core.records import Counts

PAGE_STYLE = Path(__file__).with_name("page.css").read_text()  # of whole pages: the report and its like
STYLE = """
:root { color-scheme: light dark }
body { font: 14px/1.4 system-ui, sans-serif; margin: 12px; overflow-wrap: anywhere }
.wide { overflow-x: auto; margin: 12px 0 }
table { border-collapse: collapse; font-size: 12px }
caption { text-align: left; font-weight: 600; padding: 4px 0 }
th, td { border-bottom: 1px solid #8886; padding: 3px 4px; text-align: right; vertical-align: top }
th, td { overflow-wrap: normal }
th:first-child, td:first-child { text-align: left }
"""


@dataclass(frozen=True)
class Table:
    """Cells as they are to be read; `note` stands below the table."""

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


def write_page(path: str, title: str, *parts: Table | Sequence[str]) -> None:
    """A page of tables and of lists of lines. Every text is escaped: some of it may come from models."""
    body = "".join(_table(part) if isinstance(part, Table) else _list(part) for part in parts)
    head = f'<meta charset="utf-8"><title>{html.escape(title)}</title><style>{STYLE}</style>'
    Path(path).write_text(f"<!doctype html><html><head>{head}</head><body><h3>{html.escape(title)}</h3>{body}</body>")


def count_table(name: str, counts: Counts) -> Table:
    """What a stage kept, and what it dropped with the reason."""
    kept = [(f"kept: {kind}", f"{number:,}") for kind, number in counts.kept.items()]
    dropped = [(f"dropped: {reason}", f"{number:,}") for reason, number in counts.dropped.items()]
    return Table(name.replace("_", " "), ("what", "count"), [*kept, *dropped])


def markdown_table(table: Table) -> str:
    """The table without its caption, as GitHub reads it; cells are our own text, none a model's."""
    head, *rows = [f"| {' | '.join(row)} |\n" for row in (table.columns, *table.rows)]
    note = f"\n{table.note}\n" if table.note else ""
    return "".join([head, "|---" * len(table.columns), "|\n", *rows, note])


def _table(table: Table) -> str:
    note = f"<p>{html.escape(table.note)}</p>" if table.note else ""
    body = "".join(f"<tr>{_cells('td', row)}</tr>" for row in table.rows)
    head = f"<caption>{html.escape(table.caption)}</caption><thead><tr>{_cells('th', table.columns)}</tr></thead>"
    return f'<div class="wide"><table>{head}<tbody>{body}</tbody></table></div>{note}'


def _cells(tag: str, cells: Iterable[str]) -> str:
    """A number keeps its unit on its line; a line may end after a slash."""
    texts = (html.escape(cell).replace(" %", "&nbsp;%").replace("/", "/<wbr>") for cell in cells)
    return "".join(f"<{tag}>{text}</{tag}>" for text in texts)


def _list(lines: Sequence[str]) -> str:
    return f"<ul>{''.join(f'<li>{html.escape(line)}</li>' for line in lines)}</ul>"
