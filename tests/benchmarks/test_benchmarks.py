"""Every benchmark in a toy size: what it measures is the same work. No test looks at a time."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from components.serving.embedded.model import int8
from tests.benchmarks import engine, feeding, loop, novelty, stub_engine, training, vllm_feeding
from tests.benchmarks.__main__ import PAGE, PARTS, TABLE
from tests.benchmarks.row import HEADINGS, Row, table
from tests.benchmarks.small_model import make_small_model
from tests.helpers.tiny_model import make_tiny_model


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
        assert len(feeding.ours(urls, feeding.numbered(12))) == len(feeding.plain(urls[0], 12)) == 12


def test_vllm_s_benchmark_is_given_what_our_client_asks(tmp_path: Path) -> None:
    """A prompt of 20 to 90 letters, each a token, and an answer that has as many tokens as ours may have."""
    make_small_model(tmp_path, hidden=192, layers=1)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    asked = vllm_feeding.requests(50)
    for request, given in zip(asked, vllm_feeding.conversations(asked), strict=True):
        prompt, answer = (tokenizer(turn["value"]).input_ids for turn in given["conversations"])
        assert tokenizer.decode(prompt) == request.messages[0]["content"] and 20 <= len(prompt) <= 90
        assert len(answer) == request.max_tokens and 16 <= len(answer) <= 64


def test_made_pairs_are_of_the_lengths_of_people_s() -> None:
    """OpenAssistant's in tokens: half of the best answers have 103 to 378, half of the others 20 to 271."""
    pairs = training.made_pairs(1000)
    for texts, quarter, median in (([p.chosen for p in pairs], 90, 180), ([p.rejected for p in pairs], 20, 65)):
        lengths = sorted(map(len, texts))
        assert abs(lengths[250] / quarter - 1) < 0.2 and abs(lengths[500] / median - 1) < 0.2


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sft", "dpo"])
def test_both_ways_of_training_have_the_same_losses(kind: str, tmp_path: Path) -> None:
    model, pairs = make_tiny_model(tmp_path), training.made_pairs(18)
    ours, theirs = (training.trained(way, kind, model, pairs)[1] for way in (training.ours, training.as_it_comes))
    assert len(ours) == 2 and ours == pytest.approx(theirs, abs=1e-4)


def test_what_prompts_have_in_common_is_read_once() -> None:
    """1 2 3 for all, 4 and 5 6 behind it, one of them asked twice: six tokens."""
    assert engine.Work("", [(1, 2, 3, 4), (1, 2, 3, 5, 6), (1, 2, 3, 4)], 1, 1).distinct_tokens == 6


@pytest.mark.slow
def test_all_engines_write_every_token(tmp_path: Path) -> None:
    model = make_tiny_model(tmp_path)
    for work in engine.works(batch=12, new_tokens=3):
        assert work.generated == 36
        assert engine.by_engine(model, work) > 0 and engine.by_generate(model, work, 8) > 0
        assert not int8.has_vnni() or engine.by_engine(model, work, "int8") > 0
        assert engine.by_generate_batch(model, work) > 0


@pytest.mark.slow
def test_both_rounds_make_as_much(tmp_path: Path) -> None:
    """Two prompts with 4 answers and 12 judgements each."""
    model, pairs = make_tiny_model(tmp_path / "model"), training.made_pairs(2)
    assert [run(model, pairs, str(tmp_path)) for run in (loop.ours, loop.plain)] == [32, 32]


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
    begins |= {"engine": "sampling, embedded", "training": "SFT on", "loop": "one round", "warm": "a new model"}
    begins |= {"vllm": "feeding vLLM"}
    assert begins.keys() == PARTS.keys()
    assert all(any(row.startswith(begin) for row in rows) for begin in begins.values())
