"""The pages that a run leaves can be read by all: axe-core finds no serious fault, wide, narrow, light and dark."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from components.core.context import RunContext
from components.gate.settings import GatePolicy
from components.metrics.bootstrap import Resampling
from components.review import page as review_page
from components.review.sample import draw
from components.review.sources import find_items
from components.run.compare_page import render_comparison
from components.run.comparison import compare_runs
from components.run.html_report import render
from components.run.report import summary_of
from tests.helpers.axe import axe, serious_faults
from tests.helpers.chromium import chromium, opened_tab
from tests.helpers.reviewed_run import make_reviewed_run

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not chromium(), reason="no Chromium is installed here"),
    pytest.mark.skipif(not axe(), reason="axe-core is not installed here: make setup"),
]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunContext:
    return make_reviewed_run(tmp_path_factory.mktemp("run"), changed={"sampling.candidates": ["4", "2"]})


def report(run: RunContext) -> str:
    return render(run, summary_of(run.store, run.run))


def comparison(run: RunContext) -> str:
    summaries = [summary_of(run.store, run.run)] * 2
    rows = compare_runs(summaries, Resampling(resamples=100))
    return render_comparison(summaries, rows, {"seed": ["0", "1"]}, GatePolicy(improve={"win_rate": 0.0}))


def review(run: RunContext) -> str:
    return review_page.render(run.run, "m2", draw(find_items(run.store, run.run, "m2"), 10, 0), range(6))


@pytest.mark.parametrize("page", [report, comparison, review])
def test_axe_finds_no_serious_fault(page: Callable[[RunContext], str], run: RunContext, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text(page(run))
    with opened_tab(tmp_path) as tab:
        tab.open(path)
        tab.evaluate("document.querySelectorAll('details').forEach(one => { one.hidden = false; one.open = true })")
        for width in (390, 1280):
            for scheme in ("light", "dark"):
                tab.look(width, scheme)
                assert serious_faults(tab) == []


def test_axe_finds_a_fault_where_there_is_one(tmp_path: Path) -> None:
    """A button without a name, and text that hardly differs from its ground."""
    path = tmp_path / "page.html"
    path.write_text("<html lang=en><title>a</title><main><button></button><p style='color:#eee'>pale</p></main></html>")
    with opened_tab(tmp_path) as tab:
        tab.open(path)
        found = {fault.split()[0] for fault in serious_faults(tab)}
    assert {"button-name", "color-contrast"} <= found
