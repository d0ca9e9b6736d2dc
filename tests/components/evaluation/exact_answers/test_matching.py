"""When an answer is the reference answer."""

from __future__ import annotations

import pytest

from components.core.records import Candidate
from components.evaluation.exact_answers.matching import extract, wrong_because

LAST_NUMBER = r"(?P<answer>-?\d[\d,]*(\.\d+)?)"
GSM8K = r"####\s*(?P<answer>\S+)"


def answer(text: str, finish_reason: str = "stop") -> Candidate:
    return Candidate(id="q/0", prompt_id="q", prompt="?", text=text, finish_reason=finish_reason, seed=0, tokens=1)


@pytest.mark.parametrize(
    ("text", "pattern", "found"),
    [
        (" 81406\n", "", "81406"),
        ("1,234", "", "1,234"),  # a text is compared as it is
        ("4 * 3 = 12.\n#### 1,012", GSM8K, "1012"),
        ("First 7, then 8. So the answer is 1,234.", LAST_NUMBER, "1234"),
        ("It costs 3.50 in all, not -2", LAST_NUMBER, "-2"),
        ("one, two", r"(?P<answer>\w+, \w+)", "one, two"),  # no thousands
        ("I do not know", LAST_NUMBER, None),
        ("12 at first" + " and so on" * 300, LAST_NUMBER, None),  # 3,000 characters back: no answer that it ends on
    ],
)
def test_what_is_compared(text: str, pattern: str, found: str | None) -> None:
    assert extract(text, pattern) == found


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (answer("So it is 42."), None),
        (answer("42, or 43"), "another answer"),
        (answer("No idea"), "no answer found"),
        (answer("So it is 42", "length"), "cut off by length"),  # 42 may be the half of 421
        (answer("So it is 042"), "another answer"),  # numbers are texts: 01406 is not 1406
    ],
)
def test_why_an_answer_is_wrong(given: Candidate, reason: str | None) -> None:
    assert wrong_because(given, "42", LAST_NUMBER) == reason
