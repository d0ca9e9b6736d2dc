"""The report says what the summary says, all of it, and nothing that a model wrote becomes part of the page."""

from __future__ import annotations

import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Literal

import pytest

from components.core.context import RunContext
from components.core.records import Check
from components.gate.settings import GatePolicy
from components.run.charts import Chart, Point, draw, thinned
from components.run.examples import LONGEST, examples
from components.run.html_report import render, write_report
from components.run.outcome import outcome
from components.run.report import summarise
from tests.helpers.chromium import chromium, opened_tab
from tests.helpers.finished_run import HOSTILE, make_finished_run

SECTIONS = [
    "Models side by side",
    "Scores and lengths",
    "Training",
    "From prompts to pairs",
    "Judge health, drift, contamination",
    "People and the judge",
    "Examples",
    "Rules of the gate",
    "Time and cost",
    "Lineage",
    "Settings",
    "Versions",
]


class Page(HTMLParser):
    """The page's elements by tag with their attributes, and its text by the tag that it stands in."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self.rows: list[list[str]] = []
        self._open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "use", "path"):
            self._open.append(tag)
            self.texts.setdefault(tag, []).append("")
        if tag == "tr":
            self.rows.append([])
        if tag in ("th", "td"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        if tag in self._open:
            while self._open.pop() != tag:
                pass

    def handle_data(self, data: str) -> None:
        if self._open:
            self.texts[self._open[-1]][-1] += data
            if self._open[-1] in ("th", "td"):
                self.rows[-1][-1] += data.replace("\u00a0", " ")

    def row(self, start: str) -> list[str]:
        return next(row for row in self.rows if row and row[0].startswith(start))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunContext:
    return make_finished_run(tmp_path_factory.mktemp("report"), changed={"sampling.candidates": ["4", "2"]})


@pytest.fixture(scope="module")
def summary(run: RunContext) -> dict[str, Any]:
    return summarise(run.store, run.run)


@pytest.fixture(scope="module")
def page(run: RunContext, summary: dict[str, Any]) -> Page:
    write_report(run, summary)
    return Page((Path(run.store) / "runs" / run.run / "report.html").read_text())


def test_every_section_is_there_and_can_be_gone_to(page: Page) -> None:
    assert page.texts["h2"] == SECTIONS
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = [attributes["href"] for tag, attributes in page.elements if tag == "a"]
    assert len(links) == len(SECTIONS) and {str(link)[1:] for link in links} <= set(ids)


def test_the_verdict_is_one_sentence_with_its_uncertainty(page: Page) -> None:
    """M2 wins 30 of 40, M1 20 of these: .25. The ten that differ are Bernoulli of p = 1/4, so the interval is about
    .25 +- 1.96 sqrt(.25 * .75 / 40) = .12 to .38."""
    (sentence,) = [text for text in page.texts["p"] if "is better than" in text]
    assert sentence.startswith(
        "M2 is better than M1: win_rate went from 0.500 to 0.750, a change of +0.250 (95 % interval"
    )
    low, _, high = sentence.partition("interval ")[2].split()[:3]
    assert float(low) == pytest.approx(0.12, abs=0.03) and float(high.strip(",")) == pytest.approx(0.38, abs=0.03)
    assert "40 items" in sentence and sentence.endswith("The gate's verdict on M2 is promote.")
    assert any("parse_rate" in item for item in page.texts["li"])  # the rule with too little to go by


def test_the_figures_are_the_summary_s(page: Page, summary: dict[str, Any]) -> None:
    """Share .5 with its bounds in percent, and so on for each model; the histogram's shares; what each stage kept."""
    cells = page.row("win rate: ")[1:]
    assert len(cells) == len(summary["models"]) == 2
    for cell, model in zip(cells, summary["models"], strict=True):
        value, low, high = (100 * model["metrics"][f"win_rate{part}"] for part in ("", "_low", "_high"))
        assert cell == f"{value:.1f} % ({low:.1f} % to {high:.1f} %)"
    shares = {row[0]: row[1] for row in page.rows if row[0] in ("1", "3", "5") and len(row) == 2 and "%" in row[1]}
    assert shares == {"1": "25.0 %", "3": "25.0 %", "5": "50.0 %"}
    told = {row[0]: row[1:] for row in page.rows if len(row) == 3}
    for stage in summary["stages"]:
        for number, kind in enumerate(("kept", "dropped")):
            for what, count in stage["counts"][kind].items():
                assert f"{count} {what}" in told[stage["name"]][number]
    assert ["M1", "8", "5"] in page.rows  # mean characters of chosen and rejected


def test_settings_that_differ_rules_and_lineage_are_told(page: Page) -> None:
    assert page.row("sampling.candidates") == ["sampling.candidates", "4", "2"]
    assert page.row("improvement")[:6] == ["improvement", "win_rate", "pass", "0.250", "0.100 to 0.400", "40"]
    assert page.row("m1/judging")[:2] == ["m1/judging", "3 judgements"]
    assert any(row[0] == "m1/judging" and row[3] == "m1/sampling" for row in page.rows if len(row) > 3)


def test_what_models_wrote_stays_text(page: Page, run: RunContext) -> None:
    """The best (5), the worst (1), with the judge's own words; neither tags nor templates in them come to life."""
    assert not {"script", "img", "iframe", "link"} & {tag for tag, _ in page.elements}
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    shown = page.texts["pre"]
    assert f"p0/0: {HOSTILE}" in shown and f"of p0/0: {HOSTILE}" in shown and f"p1/0: {HOSTILE}" in shown
    (policy,) = [a["content"] for tag, a in page.elements if tag == "meta" and "http-equiv" in a]
    assert str(policy).startswith("default-src 'none'")
    assert not [a for _, a in page.elements if not str(a.get("href", a.get("xlink:href", "#"))).startswith("#")]


def test_charts_have_a_name_and_their_numbers_as_a_table(page: Page) -> None:
    charts = [attributes for tag, attributes in page.elements if tag == "svg"]
    assert len(charts) == page.texts["summary"].count("its numbers") >= 5
    assert all(chart["role"] == "img" and chart["aria-label"] for chart in charts)
    scopes = {attributes.get("scope") for tag, attributes in page.elements if tag == "th"}
    assert scopes == {"col", "row"}


def test_a_long_curve_is_told_at_equal_distances_with_both_ends() -> None:
    assert thinned(range(30), 4) == [0, 10, 19, 29]
    curve = Chart("loss", "curves", {"a": [Point(n, n) for n in range(1, 1001)]}, "step")
    table = curve.table()
    assert len(table.rows) == 20 and (table.rows[0][0], table.rows[-1][0]) == ("1", "1000")
    assert "20 of 1000" in table.note
    assert len(draw(curve, "c")) < 30_000


def test_what_was_not_measured_is_no_point_and_no_zero() -> None:
    chart = Chart("win rate", "points", {"a": [Point("M1", 0.5)], "b": [Point("M2", 0.25, 0.2, 0.3)]}, "model", True)
    assert [tuple(cell.replace("\u00a0", " ") for cell in row) for row in chart.table().rows] == [
        ("M1", "50.0 %", "-"),
        ("M2", "-", "25.0 % (20.0 % to 30.0 %)"),
    ]


def test_examples_are_of_different_prompts_and_long_ones_are_cut(run: RunContext, summary: dict[str, Any]) -> None:
    """Of two prompts the best answer of the first and the worst of the second: none is left to be drawn."""
    uris = {stage["name"]: stage["uri"] for stage in summary["stages"]}
    shown = examples(uris["m1/sampling"], uris["m1/judging"])
    assert [(one.why, one.score) for one in shown] == [("best", 5.0), ("best", 1.0)]
    assert shown[0].judgements == [("score 5", f"of p0/0: {HOSTILE}")]
    assert LONGEST <= 5000


def test_what_the_gate_has_computed_of_the_two_models_is_not_computed_again(summary: dict[str, Any]) -> None:
    """finished_run's gate wrote 0.1 to 0.4, against the champion "other"; the report's own refits give another."""
    policy = GatePolicy(improve={"win_rate": 0.0}, resamples=100)
    first, last = summary["models"]
    assert "+0.100 to +0.400, 40 items" in outcome([first | {"digest": "other"}, last], policy).sentence
    assert "+0.100 to +0.400" not in outcome([first | {"digest": "a third"}, last], policy).sentence


def test_a_run_that_the_gate_stopped_says_so_and_one_without_verdicts_too(summary: dict[str, Any]) -> None:
    policy = GatePolicy(improve={"win_rate": 0.0}, resamples=100)
    first, last = summary["models"]
    stopped = outcome([first, last | {"verdict": "stop", "reasons": ["it is no judge"]}], policy)
    assert "The gate stopped the run at M2: it is no judge." in stopped.sentence
    assert "is worse than M2: win_rate went from 0.750 to 0.500" in outcome([last, first], policy).sentence
    assert "is not proven better or worse than M1" in outcome([first, first | {"name": "m2"}], policy).sentence
    assert "cannot be told from" in outcome([first, last], policy.model_copy(update={"min_items": 41})).sentence
    assert "the only model that was judged" in outcome([first], policy).sentence
    assert "The gate has seen no model" in outcome([], policy).sentence
    assert "lc_win_rate) was not measured on both" in outcome([first, last], GatePolicy()).sentence


def test_rules_with_too_few_items_are_one_line(summary: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Two of four rules had 6 and 11 items, where 30 are wanted; the third failed, the fourth was not measured."""

    def check(metric: str, outcome: Literal["fail", "unknown"], items: int) -> Check:
        numbers = dict.fromkeys(("value", "low", "high"), 0.5)
        return Check(id=metric, rule="floor", metric=metric, outcome=outcome, items=items, reason="why", **numbers)

    checks = [check("a", "unknown", 6), check("b", "unknown", 11), check("c", "fail", 40), check("d", "unknown", 0)]
    monkeypatch.setattr("components.run.outcome.read_records", lambda *_: checks)
    first, last = summary["models"]
    assert outcome([first, last], GatePolicy(improve={"win_rate": 0.0}, resamples=100)).doubts == [
        "floor: why",
        "2 of 4 rules had 6 to 11 items, 30 could prove something: floor of a, floor of b",
        "not measured of M2: d",
    ]


def test_a_stage_that_is_gone_is_told_and_nothing_stands_for_it(tmp_path: Path) -> None:
    """`srlm gc` takes what nobody needs: the page is made all the same, from the summary."""
    run = make_finished_run(tmp_path)
    summary = summarise(run.store, run.run)
    for stage in ("judging", "gate", "dpo"):
        shutil.rmtree(tmp_path / stage)
    page = Page(render(run, summary))
    assert page.row("win rate: ")[1].startswith("50.0 %")
    assert any("holds no finished stage" in text for text in page.texts["p"])
    assert any("can no longer be computed" in text for text in page.texts["li"])
    assert any(row[0] == "m2/dpo" and "gone" in row for row in page.rows)


def test_the_report_of_a_long_run_stays_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Texts of 100,000 characters, as a model that does not stop writes them: at most 3 MB."""
    monkeypatch.setattr("tests.helpers.finished_run.HOSTILE", HOSTILE * 1000)
    run = make_finished_run(tmp_path)
    assert len(render(run, summarise(run.store, run.run)).encode()) < 3_000_000


@pytest.mark.slow
@pytest.mark.extended
@pytest.mark.skipif(not chromium(), reason="no Chromium is installed here")
def test_a_browser_finds_nothing_to_complain_about(run: RunContext, page: Page, tmp_path: Path) -> None:
    """No request beside the file itself, no error, no part wider than a phone; light and dark are not the same."""
    with opened_tab(tmp_path) as tab:
        tab.open(Path(run.store) / "runs" / run.run / "report.html")
        assert [
            text.strip() for text in tab.evaluate("[...document.querySelectorAll('h2')].map(e => e.innerText)")
        ] == SECTIONS
        colours = {}
        for width in (390, 1280):
            for scheme in ("light", "dark"):
                assert len(tab.look(width, scheme)) > 50_000
                assert tab.evaluate("document.documentElement.scrollWidth") <= width
                ink, paper = (
                    tab.evaluate(f"getComputedStyle(document.body).{name}") for name in ("color", "backgroundColor")
                )
                colours[scheme] = (ink, paper)
        assert colours["light"][1] != colours["dark"][1]
        assert colours["light"][0] != colours["dark"][0]
        asked = [one["request"]["url"].partition(":")[0] for one in tab.events["Network.requestWillBeSent"]]
        assert asked == ["file"]
        assert not {"Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown"} & set(tab.events)


def test_no_axis_of_shares_goes_beyond_all_of_them() -> None:
    """A judge that is always right, as in the small world, had one to 104 %."""
    chart = Chart("accuracy", "points", {"a": [Point("M1", 1.0), Point("M2", 1.0)]}, "model", share=True)
    told = [int(tick) for tick in re.findall(r"(\d+) %", draw(chart, "a"))]
    assert max(told) == 100
