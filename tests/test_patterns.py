"""No regular expression of the code takes more than linear time, whatever text meets it (issue 16)."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from components.evaluation.alpaca_eval.verdicts import parse_identifier, parse_verdict
from components.evaluation.exact_answers.numbers import only_value
from components.evaluation.exact_answers.questions import find_answer
from components.evaluation.mt_bench.rating import parse_rating
from components.judging.parser import parse_score
from components.prompts.cleaning import clean
from components.serving.answers import split_reasoning
from components.serving.waiting import wait_asked_for
from tests.helpers.patterns import Use, hard_texts, uses

SIZE, GROWTH = 1500, 4


def seconds(run: Callable[[str], object], text: str) -> float:
    """Of this thread's own, in the shortest of a few runs: others use this machine, too."""
    times = []
    for _ in range(3):
        start = time.thread_time()
        run(text)
        times.append(time.thread_time() - start)
        if times[-1] < 0.001:
            break
    return min(times)


def assert_linear(run: Callable[[str], object], short: str, long: str) -> None:
    """16 times would be the square, 64 the cube. What takes less than 60 ms is none at that length."""
    for _ in range(3):
        after = seconds(run, long)
        if after < 0.06 or after < 2 * GROWTH * (before := seconds(run, short)):
            return
    pytest.fail(f"{before:.4f} s, then {after:.4f} s with {long[:60]!r}...")


@pytest.mark.parametrize("use", uses(), ids=lambda use: use.place)
def test_a_text_four_times_as_long_takes_about_four_times_as_long(use: Use) -> None:
    for short, long in zip(hard_texts(use.pattern, SIZE), hard_texts(use.pattern, GROWTH * SIZE), strict=True):
        assert_linear(use.run, short, long)


def after_a_name(read: Callable[[str], object], name: str) -> Callable[[str], object]:
    return lambda text: read(f"{name}{text}")


READERS: dict[str, tuple[Callable[[str], object], list[str]]] = {
    "score": (parse_score, ["judging.parser", "judging.values", "judging.statements", "judging.written"]),
    "score behind its name": (after_a_name(parse_score, "Score: 4"), ["judging.values", "judging.written"]),
    "verdict": (after_a_name(parse_verdict, "Verdict: A"), ["judging.written", "evaluation.alpaca_eval.verdicts"]),
    "identifier": (lambda text: parse_identifier(text, ("m", "M")), ["evaluation.alpaca_eval.verdicts"]),
    "rating": (parse_rating, ["evaluation.mt_bench.rating", "judging.values"]),
    "rating in brackets": (after_a_name(parse_rating, "Rating: [[4"), ["evaluation.mt_bench.rating"]),
    "task": (clean, ["prompts.cleaning"]),
    "numbered task": (after_a_name(clean, "1. "), ["prompts.cleaning"]),
    "thought": (split_reasoning, ["serving.answers", "core.texts"]),
    "number": (only_value, ["evaluation.exact_answers.numbers"]),
    "answer": (lambda text: find_answer(text, r"(?P<answer>-?\d[\d,]*(\.\d+)?)"), ["evaluation.exact_answers.numbers"]),
    "a pattern of the user": (lambda text: find_answer(text, "(?P<answer>(a+)+)b|(?P<x>(.*)*)c"), ["core.texts"]),
    "wait": (lambda text: wait_asked_for({}, f"try again in {text}"), ["serving.waiting"]),
}


@pytest.mark.extended
@pytest.mark.parametrize("reader", READERS)
def test_what_reads_a_text_of_a_model_takes_linear_time(reader: str) -> None:
    """However often it looks at it."""
    read, modules = READERS[reader]
    names = [f"components/{name.replace('.', '/')}.py" for name in modules]
    patterns = [use.pattern for use in uses() if use.place.partition(":")[0] in names]
    assert patterns
    for pattern in patterns:
        for short, long in zip(hard_texts(pattern, SIZE), hard_texts(pattern, GROWTH * SIZE), strict=True):
            assert_linear(read, short, long)
