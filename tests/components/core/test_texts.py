"""Texts of any language: ROUGE-L is the reference implementation's number, words are counted, the closest is found."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer

from components.core.texts import TextPool, rouge_l, tokens, word_count

WORDS = ["the", "a", "cat", "dog", "sat", "on", "mat", "it's", "3.5", "e-mail", "HTML5,", "(why?)", "don't", "x_y"]
FOREIGN = ["Über", "naïve", "中文", "кот", "गिलास", "قطة"]


def corpus(size: int, words: list[str]) -> list[str]:
    draw = random.Random(0)
    return ["", "!!!", *(" ".join(draw.choices(words, k=draw.randint(1, 30))) for _ in range(size))]


def test_rouge_l_agrees_with_rouge_score_on_a_corpus() -> None:
    scorer, texts = RougeScorer(["rougeL"]), corpus(40, WORDS)
    for first in texts:
        for second in texts:
            expected = scorer.score(first, second)["rougeL"].fmeasure
            assert rouge_l(tokens(first), tokens(second)) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Écris l'été, naïve!", ["écris", "l", "été", "naïve"]),
        ("Напиши письмо №9", ["напиши", "письмо", "no9"]),  # NFKC writes the sign out
        ("水を飲むABC", ["水", "を", "飲", "む", "abc"]),
        ("पानी दें", ["पानी", "दें"]),  # vowel signs are marks and belong to their letters
        ("สั้นๆ", ["สั้", "น", "ๆ"]),
        ("نامه\u200cای", ["نامهای"]),  # the zero-width non-joiner stands within a word
        ("ＡＢＣ ｱｲ", ["abc", "ア", "イ"]),
        ("cafe\u0301", ["café"]),  # composed or not
        ("🙂 !? _", []),
    ],
)
def test_tokens_are_letters_and_digits_of_any_script(text: str, expected: list[str]) -> None:
    assert tokens(text) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", 0),
        ("Name - four rivers", 4),  # as between spaces
        ("Напиши короткое письмо соседу", 4),
        ("请写一封信", 4),  # 5 / 1.5
        ("信。", 1),
        ("用 Python 写一封信", 5),  # 5 / 1.5, and one
        ("こんにちは", 2),  # 5 / 3
        ("ภาษาไทย", 2),  # 7 / 4
        ("오늘 날씨가 참 좋다", 4),
    ],
)
def test_words_are_estimated_where_no_spaces_divide_them(text: str, words: int) -> None:
    assert word_count(text) == words


@pytest.mark.parametrize("above", [0.0, 0.3, 0.7, 1.0])
def test_the_closest_text_is_found_as_by_comparing_all(above: float) -> None:
    """With words that return often, and letters of other scripts."""
    texts = corpus(120, WORDS + FOREIGN)
    pool = TextPool(texts[:60], above)
    for text in texts:
        scores = [rouge_l(tokens(text), tokens(other)) for other in texts[:60]]
        best = max(scores)
        expected = (texts[scores.index(best)], best) if best > above else None
        assert pool.closest(text) == expected


@given(st.lists(st.text("ab 水", max_size=8), max_size=6), st.text("ab 水", max_size=8), st.floats(0, 1))
def test_no_text_above_the_bound_is_overlooked(texts: list[str], text: str, above: float) -> None:
    best = max((rouge_l(tokens(text), tokens(other)) for other in texts), default=0.0)
    found = TextPool(texts, above).closest(text)
    assert (found is not None) == (best > above)
    assert found is None or found[1] == best
