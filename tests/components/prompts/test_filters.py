"""The filters of Self-Instruct, one by one, in any language; what is novel."""

import json
from pathlib import Path
from typing import Any

import pytest

from components.prompts.filters import NoveltyPool, mean_novelty, rejection_reason

CASES = [json.loads(line) for line in Path(__file__).with_name("cases.jsonl").read_text().splitlines()]
IN_LANGUAGES = [case for case in CASES if "prompt" in case]


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


@pytest.mark.parametrize("case", IN_LANGUAGES, ids=lambda case: case["language"])
def test_prompts_in_any_language_are_fit_and_told_apart(case: dict[str, Any]) -> None:
    """By the rules for English all of them were too short, or began with a character that is not ASCII."""
    for prompt in (case["prompt"], case["other"]):
        assert (rejection_reason(prompt, "stop", case["language"]) is None) == case["fit"]
    pool = NoveltyPool([case["prompt"]], 0.7)
    assert pool.is_novel(case["prompt"]) == case["the same again is novel"]
    assert pool.is_novel(case["other"]) == case["other is novel"]


@pytest.mark.parametrize(
    ("language", "text", "reason"),
    [
        ("zh", "你好吗？", "too short"),
        ("zh", "写一首诗。", "too short"),  # as "Write a poem" is
        ("ja", "こんにちは。", "too short"),
        ("th", "สวัสดีครับ", "too short"),
        ("zh", "请介绍一下这座城市的历史。" * 20, "too long"),  # 240 characters, about 160 words
        ("ru", "🙂 Напиши короткое письмо соседу", "starts with neither a letter nor a digit"),
        ("es", "¿", "too short"),
        ("zh", "，请写一封简短的信给邻居。", "starts with neither a letter nor a digit"),
        ("de", "- Überlege dir drei Fragen", "starts with punctuation"),
        ("en", "Напиши короткое письмо соседу", "starts with a non-ASCII character"),  # the paper's rule for English
    ],
)
def test_what_is_unfit_in_other_languages(language: str, text: str, reason: str) -> None:
    assert rejection_reason(text, "stop", language) == reason


def test_a_chinese_prompt_of_a_hundred_and_fifty_words_is_not_too_long() -> None:
    """225 characters at 1.5 a word are 150 words, the most that there may be."""
    assert rejection_reason("水" * 225, "stop", "zh") is None
    assert rejection_reason("水" * 226, "stop", "zh") == "too long"


def test_almost_the_same_prompt_is_not_novel_in_any_script() -> None:
    """One word of twelve, or one of fourteen characters, changed: F = 11/12 or 13/14."""
    for case in IN_LANGUAGES:
        pool = NoveltyPool([case["prompt"]], 0.7)
        first, _, rest = case["prompt"].partition(" ")
        changed = f"xyz {rest}" if rest else "水" + first[1:]
        assert not pool.is_novel(changed), case
