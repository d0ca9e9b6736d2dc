"""Runs side by side: changes are paired where the items are the same, and what is drawn apart says so."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components.core.context import RunContext
from components.core.errors import UserError
from components.core.records import Counts, Manifest, Observation, Parent, Reply, SeedPrompt
from components.core.settings import Settings
from components.core.stage import Stage, parent
from components.gate.settings import GatePolicy
from components.metrics.bootstrap import Resampling, separate_difference
from components.metrics.statistics import METRICS
from components.run.charts import Chart, Point, Stack, draw
from components.run.compare_page import as_json, render_comparison
from components.run.comparison import Change, Measured, Row, change, compare_runs, require_figures
from components.run.report import summary_of
from pipelines.cli.compare import differing
from tests.components.run.test_html_report import Page
from tests.helpers.chromium import chromium, opened_tab
from tests.helpers.finished_run import HOSTILE, ITEMS, make_finished_run

HOW = Resampling(resamples=400)


@pytest.fixture
def runs(tmp_path: Path) -> list[RunContext]:
    """In the first M2 wins 30 of 40, in the other 20: the ten that differ are won by the first alone."""
    return [make_finished_run(tmp_path / "one"), make_finished_run(tmp_path / "two", gain=0)]


def rows_of(runs: list[RunContext]) -> tuple[list[dict[str, Any]], list[Row]]:
    summaries = [summary_of(run.store, run.run) for run in runs]
    return summaries, compare_runs(summaries, HOW)


def test_models_are_compared_by_name_and_on_the_same_items(runs: list[RunContext]) -> None:
    """M1 is the same in both: 0. M2 loses 10 of 40: -0.25 +- 1.96 sqrt(.25 * .75 / 40) = -0.38 to -0.12."""
    found = {row.model: row for row in rows_of(runs)[1] if row.metric == "win_rate"}
    assert list(found) == ["M1", "M2"]
    same, changed = (found[name].changes[0] for name in ("M1", "M2"))
    assert same is not None and changed is not None
    assert (same.estimate.value, same.estimate.low, same.how) == (0, 0, "paired")
    assert (changed.estimate.value, changed.estimate.items) == (-0.25, ITEMS)
    assert changed.estimate.low == pytest.approx(-0.38, abs=0.03)
    assert changed.estimate.high == pytest.approx(-0.12, abs=0.03)


def test_runs_of_different_lengths_have_their_last_models_compared_too(runs: list[RunContext]) -> None:
    summaries, _ = rows_of(runs)
    shorter = summaries[1] | {"models": summaries[1]["models"][:1]}
    rows = compare_runs([summaries[0], shorter], HOW)
    assert [row.model for row in rows if row.metric == "win_rate"] == ["M1", "M2", "last: M2, M1"]
    alone = next(row for row in rows if row.model == "M2")
    assert alone.values[1] is None and alone.changes == [None]
    last = rows[-1].changes[0]
    assert last is not None and last.estimate.value == -0.25
    with pytest.raises(UserError, match="no model of the run"):
        require_figures([summaries[0] | {"models": []}])


def test_other_prompts_under_the_same_ids_are_not_paired(tmp_path: Path) -> None:
    """30 of 40 against 20 of 40 other prompts: .25 +- 1.96 sqrt(.75 * .25 / 40 + .5 * .5 / 40) = .045 to .455."""
    first, other = (_evaluated(tmp_path, texts, right) for texts, right in (("a", 20), ("b", 30)))
    apart = _accuracy(first, other)
    assert apart.how == "unpaired: none of 40 and 40 items are the same" and apart.estimate.value == 0.25
    assert apart.estimate.low == pytest.approx(0.045, abs=0.04)
    assert apart.estimate.high == pytest.approx(0.455, abs=0.04)
    same = _accuracy(first, _evaluated(tmp_path, "a", 30))
    assert (same.how, same.estimate.value, same.estimate.items) == ("paired", 0.25, ITEMS)
    assert (same.estimate.low or 0) > (apart.estimate.low or 0) + 0.04


def test_figures_by_another_annotator_are_not_compared() -> None:
    manifests = [_manifest({"annotator": Parent(uri="x", digest=digest)}) for digest in "ab"]
    one, other = (Measured({"win_rate": {"0": (0.0,), "1": (1.0,)}}, {"win_rate": manifest}) for manifest in manifests)
    found = change("win_rate", one, other, HOW)
    assert found == Change(found.estimate, "not compared: another annotator") if found else False
    assert found is not None and found.estimate.value is None
    assert change("net_win", one, other, HOW) is None


def test_labelled_shares_differ_by_newcombe_s_interval() -> None:
    """Newcombe 1998, table II (a): 56/70 - 48/80 = 0.2, 0.0524 to 0.3339 by his method 10."""
    shares = [{str(n): (float(n < agreed), 1.0) for n in range(of)} for agreed, of in ((56, 70), (48, 80))]
    value, low, high, items = separate_difference(METRICS["human_agreement"], *shares, HOW)
    assert (value, low, high) == pytest.approx((0.2, 0.0524, 0.3339), abs=1e-4) and items == 70


def test_settings_that_differ_are_told_once_where_they_were_set() -> None:
    one = {"seed": 0, "sft": {"seed": 0, "epochs": 1}, "dpo": {"beta": 0.1}}
    other = {"seed": 1, "sft": {"seed": 1, "epochs": 2}, "gate": {"demand": {"parse_rate": 0.9}}}
    assert differing([one, other]) == {
        "dpo.beta": ["0.1", "-"],
        "gate.demand.parse_rate": ["-", "0.9"],
        "seed": ["0", "1"],
        "sft.epochs": ["1", "2"],
    }
    assert differing([one, one]) == {}


def test_stacked_charts_have_equal_axes() -> None:
    """A curve to 10 and one to 1, over 30 and 15 steps: both panels reach as far."""
    long, short = (
        Chart("loss", "curves", {"loss": [Point(n, high * n / steps) for n in range(steps + 1)]}, "step")
        for high, steps in ((10, 30), (1, 15))
    )
    stack = Stack({"a": long, "b": short})
    drawn = draw(stack, "c")
    assert drawn.count('id="c-axes_') == 2
    assert stack.table().columns == ("run", "step", "loss")
    assert {row[0] for row in stack.table().rows} == {"a", "b"}
    limits = _limits(stack)
    assert len(set(limits)) == 1 and limits[0][1][1] >= 10


def test_the_page_tells_settings_figures_and_charts(runs: list[RunContext]) -> None:
    summaries, rows = rows_of(runs)
    settings = {"dpo.beta": ["0.1", f"0.2 {HOSTILE}"]}
    page = Page(render_comparison(summaries, rows, settings, GatePolicy(improve={"win_rate": 0.0}, resamples=200)))
    assert page.texts["h2"] == [
        "Settings that differ", "Figures", "Figures by model", "Scores and lengths", "Training",
    ]  # fmt: skip
    assert page.row("dpo.beta")[2].startswith("0.2 </pre>")
    cell = page.row("M2 win_rate")
    assert cell[1].startswith("75.0 %") and cell[2].startswith("50.0 %") and cell[3].startswith("-25.0 %")
    assert cell[3].endswith("paired, 40 items")
    (sentence,) = [text for text in page.texts["p"] if "differs by" in text]
    assert sentence.startswith("M2 of finished is worse than that of finished: win_rate differs by -0.250 (paired")
    assert "script" not in {tag for tag, _ in page.elements}
    told = as_json(rows, settings, ["a", "b"])
    figure = next(one for one in told["figures"] if (one["model"], one["metric"]) == ("M2", "win_rate"))
    assert figure["values"][0]["value"] == 0.75 and figure["changes"][0]["how"] == "paired"
    assert not [value for value in _numbers(told) if math.isnan(value)]


@pytest.mark.slow
@pytest.mark.skipif(not chromium(), reason="no Chromium is installed here")
def test_a_browser_finds_nothing_to_complain_about(runs: list[RunContext], tmp_path: Path) -> None:
    summaries, rows = rows_of(runs)
    path = tmp_path / "compare.html"
    path.write_text(render_comparison(summaries, rows, {}, GatePolicy(improve={"win_rate": 0.0}, resamples=200)))
    with opened_tab(tmp_path) as tab:
        tab.open(path)
        for width, scheme in ((390, "dark"), (1280, "light")):
            tab.look(width, scheme)
            assert tab.evaluate("document.documentElement.scrollWidth") <= width
        assert not tab.complaints()


def _evaluated(root: Path, texts: str, right: int) -> Measured:
    """A model whose judge orders `right` of 40 pairs as people did; its prompts are `texts`, their ids always p0..."""
    prompts = [
        SeedPrompt(id=f"p{n}", text=f"{texts} {n}", replies=[Reply(id="r", text="reply", rank=0)]) for n in range(ITEMS)
    ]
    seeds = Stage(str(root), "seed_data", Settings(), {"texts": Parent(uri="made up", digest=texts)})
    seeds.publish(Counts(), {"eval": prompts})
    made = {"seed_data": parent(seeds.uri), "model": Parent(uri="made up", digest=str(right))}
    stage = Stage(str(root), "evaluation", Settings(), made)
    metric = "pairwise_accuracy"
    seen = {f"p{n}": (float(n < right), 1.0) for n in range(ITEMS)}
    lines = [Observation(id=f"{metric}/{n}", metric=metric, item=n, values=list(v)) for n, v in seen.items()]
    manifest = stage.publish(Counts(), {"observations": lines})
    return Measured({metric: seen}, {metric: manifest})


def _accuracy(first: Measured, other: Measured) -> Change:
    found = change("pairwise_accuracy", first, other, HOW)
    assert found is not None
    return found


def _manifest(parents: dict[str, Parent]) -> Manifest:
    fields: dict[str, Any] = {"stage": "annotation", "version": 1, "key": "k", "digest": "d", "settings": {}}
    return Manifest(
        **fields, parents=parents, files={}, counts=Counts(), seconds=0, code="c", created="2026-01-01T00:00:00"
    )


def _limits(stack: Stack) -> list[tuple[tuple[float, float], tuple[float, float]]]:
    """Of each panel as matplotlib drew it: x and y."""
    from matplotlib.figure import Figure

    seen: list[Any] = []
    original = Figure.subplots

    def spy(self: Figure, *args: Any, **named: Any) -> Any:
        axes = original(self, *args, **named)
        seen.extend(np.ravel(axes))
        return axes

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "subplots", spy)
        draw(stack, "limits")
    return [(tuple(axes.get_xlim()), tuple(axes.get_ylim())) for axes in seen]


def _numbers(value: Any) -> list[float]:
    if isinstance(value, dict):
        return [number for one in value.values() for number in _numbers(one)]
    if isinstance(value, list):
        return [number for one in value for number in _numbers(one)]
    return [value] if isinstance(value, float) else []
