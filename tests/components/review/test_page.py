"""Fifty labels made through the page in a browser give the agreement and the interval that are derived by hand."""

from __future__ import annotations

import json
import math
import re
import time
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import pytest

from components.core.context import RunContext
from components.core.stage import read_manifest
from components.review.items import Item
from components.review.page import render
from components.review.record import record_labels, score_format
from components.review.sample import draw
from components.review.sources import find_items
from tests.helpers.chromium import Tab, chromium, opened_tab
from tests.helpers.finished_run import HOSTILE
from tests.helpers.reviewed_run import CLEAR, DISPUTED, TIED, make_reviewed_run

SAMPLE = 50
Z = 1.959964


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunContext:
    return make_reviewed_run(tmp_path_factory.mktemp("review"))


@pytest.fixture(scope="module")
def items(run: RunContext) -> list[Item]:
    return draw(find_items(run.store, run.run, "m2"), SAMPLE, 0)


@pytest.fixture(scope="module")
def page(run: RunContext, items: list[Item], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "review.html"
    path.write_text(render(run.run, "m2", items, score_format(run).points))
    return path


class Shown(HTMLParser):
    """Tags with their attributes; text outside the script by the tag that it stands in."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "pre":
            self.texts.append("")

    def handle_data(self, data: str) -> None:
        if self.texts:
            self.texts[-1] += data


def test_what_models_wrote_stays_text_and_no_other_script_may_run(page: Path) -> None:
    shown = Shown(page.read_text())
    assert [tag for tag, _ in shown.tags].count("script") == 1
    assert not {"img", "iframe", "link"} & {tag for tag, _ in shown.tags}
    assert not [name for _, attributes in shown.tags for name in attributes if name.startswith("on")]
    (policy,) = [a["content"] for tag, a in shown.tags if tag == "meta" and "http-equiv" in a]
    assert str(policy).startswith("default-src 'none'; script-src 'sha256-") and "unsafe" not in str(policy)
    assert any(HOSTILE in text for text in shown.texts)
    assert "innerHTML" not in page.read_text()


def test_every_choice_has_a_label_and_the_judge_s_words_are_not_open(page: Path) -> None:
    shown = Shown(page.read_text())
    assert [tag for tag, _ in shown.tags].count("article") == SAMPLE
    assert all("hidden" in attributes for tag, attributes in shown.tags if tag == "details")
    radios = [attributes for tag, attributes in shown.tags if tag == "input" and attributes["type"] == "radio"]
    assert len(radios) >= 3 * SAMPLE and all(radio["name"] and radio["value"] for radio in radios)


def person(question: str, answers: list[str]) -> str:
    """What the person of this test presses: the better answer is the one that the judge chose, but for every fourth
    prompt; every sixth prompt is a tie. Every score is 4."""
    prompt = int(re.findall(r"question (\d+)", question)[0])
    if len(answers) == 1:
        return "4"
    if prompt % 6 == 0:
        return "0"
    chosen = 1 + next(place for place, text in enumerate(answers) if text.endswith("/0"))
    return str(3 - chosen if prompt % 4 == 0 else chosen)


def derived(items: list[Item]) -> dict[str, tuple[float, float, float]]:
    """Agreement, and its interval by Wilson with the effective number of labels, from the run's own numbers.

    Of the pairs: 40 clear ones, and 8 in dispute with 12 ties beside them; each labelled one stands for as many of its
    kind as there are by label.
    """
    there = {False: CLEAR, True: DISPUTED + TIED}
    orders = [item for item in items if item.kind == "order"]
    prompts = [int(re.findall(r"question (\d+)", item.prompt)[0]) for item in orders]
    disputed = [prompt >= CLEAR for prompt in prompts]
    weight = {kind: there[kind] / number for kind, number in Counter(disputed).items()}
    told = [(prompt, weight[hard]) for prompt, hard in zip(prompts, disputed, strict=True)]
    ordered = [(prompt % 4 != 0, w) for prompt, w in told if prompt < CLEAR + DISPUTED and prompt % 6]
    all_of = [(prompt % 4 != 0 if prompt % 6 else False, w) for prompt, w in told if prompt < CLEAR + DISPUTED]
    all_of += [(prompt % 6 == 0, w) for prompt, w in told if prompt >= CLEAR + DISPUTED]
    return {"human_agreement": _wilson(ordered), "human_agreement_with_ties": _wilson(all_of)}


def _wilson(agreed: list[tuple[bool, float]]) -> tuple[float, float, float]:
    total = sum(w for _, w in agreed)
    share, n = sum(w for yes, w in agreed if yes) / total, total**2 / sum(w * w for _, w in agreed)
    a, b = 1 + Z**2 / n, -2 * share - Z**2 / n
    root = math.sqrt(b * b - 4 * a * share**2)
    return share, (-b - root) / (2 * a), (-b + root) / (2 * a)


@pytest.mark.slow
@pytest.mark.skipif(not chromium(), reason="no Chromium is installed here")
def test_fifty_labels_give_the_agreement_that_is_derived_by_hand(
    run: RunContext, items: list[Item], page: Path, tmp_path: Path
) -> None:
    """By keys alone; half way the page is opened again, and what was labelled is there still."""
    with opened_tab(tmp_path) as tab:
        tab.call("Page.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
        tab.open(page)
        for number in range(SAMPLE):
            if number == SAMPLE // 2:
                tab.open(page)
                assert tab.evaluate("document.getElementById('done').textContent") == f"{number} of {SAMPLE} labelled"
            _label(tab)
            if number < SAMPLE - 1:
                tab.press("n")
        tab.evaluate("document.getElementById('save').click()")
        assert "Say who labels" in tab.evaluate("document.getElementById('status').textContent")
        tab.call("Input.insertText", text="Ann Other")
        tab.evaluate("document.getElementById('save').click()")
        saved = _downloaded(tmp_path)
        assert saved.name == "labels-finished-m2-Ann-Other.json" and not tab.complaints()
    assert len(json.loads(saved.read_text())["labels"]) == SAMPLE
    (uri,) = record_labels(run, [saved]).values()
    figures = read_manifest(uri).metrics
    for name, expected in derived(items).items():
        assert [figures[f"{name}{part}"] for part in ("", "_low", "_high")] == pytest.approx(expected, abs=1e-5)
    assert figures["human_within_one"] == pytest.approx(_scores_within_one(items), abs=1e-9)


def _label(tab: Tab) -> None:
    """Presses the person's key on the item that is shown; the judge's words show only then."""
    shown = "document.querySelector('article:not([hidden])')"
    texts: list[str] = tab.evaluate(f"[...{shown}.querySelectorAll('section pre')].map(e => e.textContent)")
    assert tab.evaluate(f"{shown}.querySelector('details').hidden")
    tab.press(person(texts[0], texts[1:]))
    assert not tab.evaluate(f"{shown}.querySelector('details').hidden")


def _downloaded(folder: Path) -> Path:
    deadline = time.monotonic() + 20
    while not (found := list(folder.glob("labels-*.json"))):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found[0]


def _scores_within_one(items: list[Item]) -> float:
    """All are labelled 4: within a point of 4 and 3, not of 2. Clear prompts and ties (52) and disputed ones (8)."""
    scores = [item for item in items if item.kind == "score"]
    there = {False: CLEAR + TIED, True: DISPUTED}
    prompts = [(int(re.findall(r"question (\d+)", item.prompt)[0]), item) for item in scores]
    hard = {prompt: CLEAR <= prompt < CLEAR + DISPUTED for prompt, _ in prompts}
    asked = Counter(hard.values())
    weight = {prompt: there[hard[prompt]] / asked[hard[prompt]] for prompt in hard}
    agreed = {prompt: item.answers[0].endswith("/0") or prompt >= CLEAR + DISPUTED for prompt, item in prompts}
    return sum(w for prompt, w in weight.items() if agreed[prompt]) / sum(weight.values())


@pytest.mark.slow
@pytest.mark.skipif(not chromium(), reason="no Chromium is installed here")
def test_a_label_stays_once_the_judge_s_words_were_read(page: Path, tmp_path: Path) -> None:
    with opened_tab(tmp_path) as tab:
        tab.open(page)
        _label(tab)
        first = "document.querySelectorAll('article')[0]"
        tab.evaluate(f"{first}.querySelector('summary').click()")
        deadline = time.monotonic() + 5
        while not tab.evaluate(f"[...{first}.querySelectorAll('input')].every(one => one.disabled)"):
            assert time.monotonic() < deadline
        chosen = tab.evaluate(f"{first}.querySelector('input:checked').value")
        for key in "120":
            tab.press(key)
        assert tab.evaluate(f"{first}.querySelector('input:checked').value") == chosen
        for width, scheme in ((390, "dark"), (1280, "light")):
            tab.look(width, scheme)
            assert tab.evaluate("document.documentElement.scrollWidth") <= width
