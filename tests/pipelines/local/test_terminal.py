"""What a run came to is whole on a terminal of any width: a cell or a header that is cut off is a figure lost."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from components.core.page import Table
from components.run.tables import MODEL_COLUMNS, drift_table
from pipelines.local.terminal import print_table

MODELS = [
    ("M0", "0.0 %", "-", "58.3 %", "50.0 % minimal", "-", "394", "-", "1"),
    ("SFT", "0.0 %", "-", "58.3 %", "50.0 % minimal", "0/0/0 (6 none)", "161", "-", "2"),
    ("M1*", "85.0 %", "61.5 %", "54.5 %", "50.0 % minimal", "10/12/114 (6 none)", "1153", "promote", "13"),
    ("M2", "85.0 %", "50.0 %", "54.5 %", "50.0 % minimal", "0/5/0 (1 none)", "140", "hold", "not registered"),
]
DRIFT = {"figure": "prompts with one score for all candidates", "values": {"m1": 0.125, "m2": 0.25, "m3": 0.5}}


def shown(table: Table, width: int) -> str:
    console = Console(file=io.StringIO(), width=width)
    print_table(console, "a run", table)
    return console.file.getvalue()  # type: ignore[attr-defined]


@pytest.mark.parametrize("width", [40, 60, 80, 100, 120])
@pytest.mark.parametrize("more", [0, 4])
def test_no_word_of_a_table_is_cut_or_broken(width: int, more: int) -> None:
    """Five to nine models: beside one another, each in a column, or one below the other."""
    rows = [*MODELS, *((f"M{number}", *MODELS[2][1:]) for number in range(3, 3 + more))]
    text = shown(Table("models", MODEL_COLUMNS, rows), width)
    assert "…" not in text
    words = {word for row in (MODEL_COLUMNS, *rows) for cell in row for word in cell.split()}
    assert words <= set(text.translate(str.maketrans("│┃:", "   ")).split())
    assert max(map(len, text.splitlines())) <= width


def test_figures_stay_whole_where_what_they_are_of_can_fold() -> None:
    table = drift_table({"drift": [{**DRIFT, "change": 0.375, "share": True}]})
    assert table is not None
    text = shown(table, 60)
    assert [figure for figure in ("12.5 %", "25.0 %", "50.0 %", "+37.5 %") if figure not in text] == []


def test_a_wide_terminal_shows_one_row_a_model() -> None:
    assert len(shown(Table("models", MODEL_COLUMNS, MODELS), 120).splitlines()) == 1 + 3 + len(MODELS) + 1
