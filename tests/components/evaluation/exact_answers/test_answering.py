"""Accuracy of sampled and of greedy answers, by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components.core.records import Candidate, Question
from components.core.settings import Settings
from components.core.stage import Stage
from components.evaluation.exact_answers.answering import answers_to_questions, compare, wrong_because
from components.evaluation.exact_answers.settings import ExactAnswersSettings
from components.serving.completions import complete_together
from components.serving.settings import Generation
from tests.helpers.scripted_endpoint import Script, said

LAST_NUMBER = r"(?P<answer>-?\d[\d,]*(\.\d+)?)"
QUESTIONS = [Question(id="a", text="2 + 3?", answer="5"), Question(id="b", text="4 + 4?", answer="8")]


def answers(question: str, *texts: str, finish_reason: str = "stop") -> list[Candidate]:
    common = {"prompt_id": question, "prompt": "?", "finish_reason": finish_reason, "seed": 0, "tokens": 1}
    return [Candidate(id=f"{question}/{n}", text=text, **common) for n, text in enumerate(texts)]


def test_a_questions_value_is_the_share_of_its_right_answers() -> None:
    """Question a: 5, 5, 6 and a 5 that was cut off, 2 of 4 right; question b: 8 of 1, right. One of five was cut."""
    sampled = answers("a", "5", "5", "6") + answers("a", "5", finish_reason="length") + answers("b", "8")
    exact = compare(QUESTIONS, {"exact_answers": sampled}, "")
    assert exact.observed == {"exact_answers": {"a": (0.5,), "b": (1.0,)}}
    assert exact.shares == {"exact_answers_cut": 1 / 5, "exact_answers_not_found": 0}


def test_a_question_that_is_too_long_for_the_model_is_missing_and_not_wrong() -> None:
    exact = compare(QUESTIONS, {"exact_answers": answers("a", "", finish_reason="prompt_too_long")}, "")
    assert (exact.observed, exact.shares) == ({"exact_answers": {}}, {})


def test_a_text_without_an_answer_is_wrong_and_counted() -> None:
    exact = compare(QUESTIONS, {"exact_answers": answers("a", "It is 5.", "It is five.")}, r"(?P<answer>\d)")
    assert exact.observed["exact_answers"] == {"a": (0.5,)}
    assert exact.shares == {"exact_answers_cut": 0, "exact_answers_not_found": 0.5}


def test_questions_are_asked_at_the_temperature_and_greedily(tmp_path: Path, serve: Callable[[Script], str]) -> None:
    """Two questions: 3 sampled answers each at 0.9 and one greedy; limits and top-p are those of other answers."""

    def answer(_: int, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        return said("5" if body["temperature"] == 0 else "6")

    script = Script(answer)
    how = ExactAnswersSettings(questions="-", samples=3, temperature=0.9)
    stage = Stage(str(tmp_path), "evaluation", Settings(), {})
    asked = answers_to_questions(QUESTIONS, how, Generation(max_tokens=7, top_p=0.8, temperature=0.1))
    complete_together(stage, serve(script), asked)
    temperatures = [body["temperature"] for body in script.bodies]
    assert sorted(temperatures) == [0, 0] + 6 * [0.9]
    assert {(body["max_tokens"], body["top_p"]) for body in script.bodies} == {(7, 0.8)}
    assert len({body["seed"] for body in script.bodies}) == 8
    exact = compare(QUESTIONS, {batch.kind: batch.records for batch in asked}, "")
    assert exact.observed == {"exact_answers": {"a": (0,), "b": (0,)}, "exact_answers_greedy": {"a": (1,), "b": (0,)}}


@pytest.mark.parametrize(
    ("text", "finish_reason", "reason"),
    [
        ("So it is 42.", "stop", None),
        ("42, or 43", "stop", "another answer"),
        ("No idea", "stop", "no answer found"),
        ("So it is 42", "length", "cut off by length"),  # 42 may be the half of 421
        ("So it is 042", "stop", "another answer"),  # numbers are texts: 01406 is not 1406
    ],
)
def test_an_answer_that_is_not_the_reference_is_wrong_for_a_reason(
    text: str, finish_reason: str, reason: str | None
) -> None:
    (given,) = answers("q", text, finish_reason=finish_reason)
    assert wrong_because(given, "42", LAST_NUMBER) == reason
