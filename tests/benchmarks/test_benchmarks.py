"""Every benchmark in a toy size: what it measures is the same work. No test looks at a time."""

from __future__ import annotations

import re

import pytest

from tests.benchmarks import feeding, novelty, stub_engine
from tests.benchmarks.__main__ import PAGE, PARTS, TABLE
from tests.benchmarks.row import HEADINGS, Row, table


def test_novelty_decides_as_rouge_score_does() -> None:
    """Of 40 prompts some are too close to one of 60, and some are nearly."""
    prompts = novelty.made_prompts(100)
    decided, _ = novelty.decisions(prompts[:60], prompts[60:])
    assert decided == novelty.by_rouge_score(prompts[:60], prompts[60:])
    assert set(decided) == {True, False}


def test_made_prompts_are_of_the_lengths_of_people_s() -> None:
    """OpenAssistant's: a median of 16 words, a quarter below 9, a quarter above 30."""
    lengths = sorted(len(prompt.split()) for prompt in novelty.made_prompts(2000))
    assert lengths[0] >= 4 and lengths[-1] <= 150
    assert 8 <= lengths[500] <= 10 and 15 <= lengths[1000] <= 17 and 26 <= lengths[1500] <= 32


def test_the_stub_s_throughput_is_its_curve_s() -> None:
    """32 in flight take 1 s (1 + 1) each: 16 a second, half of 32 / 1; 128 take 5 s; more wait."""
    assert stub_engine.best_throughput(1, 32) == 16
    assert stub_engine.best_throughput(1) == stub_engine.best_throughput(1, 4000) == pytest.approx(25.6)
    assert stub_engine.best_throughput(4) == pytest.approx(4 * 25.6)


@pytest.mark.slow
def test_both_ways_of_feeding_get_every_answer() -> None:
    with feeding.stub(2) as urls:
        assert len(feeding.ours(urls, 12)) == len(feeding.plain(urls[0], 12)) == 12


def test_a_ratio_says_how_many_times_as_good_ours_is() -> None:
    """2 s beside 10 s: five times; 30 a second beside 10 and of 60 at best: three times, and half."""
    slow = Row("a", "s", 2, "theirs", 10, less_is_better=True, of_other=6)
    assert slow.ratio(slow.other) == 5 and slow.goals == [(">= 6 x theirs", False)]
    fast = Row("b", "/s", 30, "theirs", 10, limit=60, of_limit=0.5, at_most=40)
    assert fast.ratio(fast.other) == 3
    assert fast.goals == [(">= 0.5 x the limit", True), ("<= 40 /s", True)]
    assert all(line.count("|") == len(HEADINGS) + 1 for line in table([slow, fast]).splitlines())


def test_the_page_has_a_table_of_every_part() -> None:
    (written,) = TABLE.findall(PAGE.read_text())
    rows = [line.split("|")[1].strip() for line in written.splitlines() if line.startswith("| ")]
    assert re.search(r"\d{4}-\d\d-\d\d, \d+ cores", written)
    begins = {"novelty": "novelty", "overhead": "a local step", "feeding": "feeding", "store": "a model up"}
    assert begins.keys() == PARTS.keys()
    assert all(any(row.startswith(begin) for row in rows) for begin in begins.values())
