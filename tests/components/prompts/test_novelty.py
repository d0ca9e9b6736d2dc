"""ROUGE-L: the same number as the reference implementation, at any size."""

import random

import pytest
from rouge_score.rouge_scorer import RougeScorer

from components.prompts.novelty import NoveltyPool, rouge_l, rouge_tokens

WORDS = ["the", "a", "cat", "dog", "sat", "on", "mat", "it's", "3.5", "Über", "naïve", "e-mail", "HTML5,"]
WORDS += ["(why?)", "中文", "don't", "x_y"]


def corpus(size: int) -> list[str]:
    draw = random.Random(0)
    return ["", "!!!", *(" ".join(draw.choices(WORDS, k=draw.randint(1, 30))) for _ in range(size))]


def test_agrees_with_rouge_score_on_a_corpus() -> None:
    scorer, texts = RougeScorer(["rougeL"]), corpus(40)
    for first in texts:
        for second in texts:
            expected = scorer.score(first, second)["rougeL"].fmeasure
            assert rouge_l(rouge_tokens(first), rouge_tokens(second)) == pytest.approx(expected, abs=1e-12)


def test_the_short_cut_changes_no_verdict() -> None:
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
