"""The filters of Self-Instruct, one by one; ROUGE-L: the same number as the reference implementation."""

import random

import pytest
from rouge_score.rouge_scorer import RougeScorer

from components.prompts.filters import NoveltyPool, mean_novelty, rejection_reason, rouge_l, rouge_tokens

WORDS = ["the", "a", "cat", "dog", "sat", "on", "mat", "it's", "3.5", "Über", "naïve", "e-mail", "HTML5,"]
WORDS += ["(why?)", "中文", "don't", "x_y"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Explain this please", "too short"),  # three words
        ("", "too short"),
        ("word " * 151, "too long"),
        ("Describe the images shown above", "needs more than text"),
        ("Please Draw a cat for me", "needs more than text"),
        ("Tell me how to go to Rome", "needs more than text"),
        ("Write a program that adds numbers", "asks for a program"),
        ("- list three kinds of bread", "starts with punctuation"),
        ("Écris une lettre à ma mère", "starts with a non-ASCII character"),
    ],
)
def test_an_unfit_text_is_rejected_with_its_reason(text: str, reason: str) -> None:
    assert rejection_reason(text, "stop") == reason


@pytest.mark.parametrize(
    "text",
    [
        "Name four common rivers",  # four words
        ("word " * 150).strip(),
        "Summarise the plotline of a drawing contest",  # whole words only: plotline and drawing are fine
        "What profile does a geographer need",
    ],
)
def test_a_fit_text_is_not_rejected(text: str) -> None:
    assert rejection_reason(text, "stop") is None


def test_a_text_that_was_cut_is_dropped_whatever_it_says() -> None:
    assert rejection_reason("Name four common rivers", "length") == "cut off by length"


def corpus(size: int) -> list[str]:
    draw = random.Random(0)
    return ["", "!!!", *(" ".join(draw.choices(WORDS, k=draw.randint(1, 30))) for _ in range(size))]


def test_rouge_l_agrees_with_rouge_score_on_a_corpus() -> None:
    scorer, texts = RougeScorer(["rougeL"]), corpus(40)
    for first in texts:
        for second in texts:
            expected = scorer.score(first, second)["rougeL"].fmeasure
            assert rouge_l(rouge_tokens(first), rouge_tokens(second)) == pytest.approx(expected, abs=1e-12)


def test_skipping_hopeless_comparisons_changes_no_verdict() -> None:
    texts = corpus(60)
    pool = NoveltyPool(texts[:30], 0.7)
    for text in texts[30:]:
        plain = all(rouge_l(rouge_tokens(text), rouge_tokens(other)) <= 0.7 for other in texts[:30])
        assert pool.is_novel(text) == plain


def test_above_the_threshold_is_not_novel() -> None:
    """Seven common words of ten and ten: F = 14/20 = 0.7, which is not above 0.7; eight are 0.8."""
    base = "a b c d e f g h i j"
    pool = NoveltyPool([base], 0.7)
    assert pool.is_novel("a b c d e f g 1 2 3")
    assert not pool.is_novel("a b c d e f g h 2 3")


def test_accepted_prompts_join_the_pool() -> None:
    pool = NoveltyPool([], 0.7)
    assert pool.is_novel("name three rivers in France")
    pool.add("name three rivers in France")
    assert not pool.is_novel("Name three rivers in France!")


def test_mean_novelty_is_of_the_closest_other_text() -> None:
    """abcd and abce: LCS 3, F = 6/8, novelty 1/4 each; a copy of abcd among the others takes its novelty to 0."""
    texts = ["a b c d", "a b c e"]
    assert mean_novelty(texts, []) == pytest.approx(1 / 4)
    assert mean_novelty(texts, ["x", "a b c d"]) == pytest.approx((0 + 1 / 4) / 2)
    assert mean_novelty(["a b c d"], []) == 1
    assert mean_novelty([], texts) is None
