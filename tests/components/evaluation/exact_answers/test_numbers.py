"""Final answers as models write them, compared with the reference as a person would: by the value of the number."""

from __future__ import annotations

import time

import pytest

from components.core.records import Candidate
from components.evaluation.exact_answers.answering import wrong_because
from components.evaluation.exact_answers.numbers import number_value, only_value
from components.evaluation.exact_answers.questions import extract_answer

LAST_NUMBER = r"(?P<answer>-?\d[\d,]*(\.\d+)?)"
GSM8K = r"####\s*(?P<answer>\S+)"
# The first twelve are reported ones (lm-evaluation-harness #3214 and others), the rest are of their kind.
CASES = [
    ("The total is 29.", "29", True),
    ("The total is $29.00.", "29", True),
    ("29 dollars", "29", True),
    ("**29**", "29", True),
    (r"\boxed{29}", "29", True),
    ("The answer is 29.\n#### 29", "29", True),
    ("29,", "29", True),
    ("1,029 - 1,000 = 29", "29", True),
    ("+29", "29", True),
    ("-29", "29", False),
    ("29.50", "29", False),
    ("29%", "29", False),
    ("It is 29.5.", "29.50", True),
    ("1029", "1,029", True),
    ("$1,029.00", "1029", True),
    ("1'029 francs", "1029", True),
    ("1\u202f029 euros", "1029", True),
    ("1,00,000 rupees", "100000", True),
    ("She owes -$29", "-29", True),
    ("She owes $-29", "-29", True),
    ("\u221229", "-29", True),
    (r"$x = -29$", "-29", True),
    (r"\$29", "29", True),
    ("29 %", "29%", True),
    (r"29\%", "29", False),
    ("29 percent", "29", False),
    ("0.29", "29%", True),
    ("5.8 \u00d7 10^1", "58", True),
    (r"2.9 \times 10^{3}", "2900", True),
    ("2.9e3", "2900", True),
    ("29 thousand", "29000", True),
    ("29 million", "29", False),
    ("1/2", "0.5", True),
    ("3/4", "4", False),
    (r"\frac{58}{2}", "29", True),
    ("1 1/2 cups", "1.5", True),
    (".5", "0.5", True),
    ("2:29", "29", False),
    ("10-29", "29", False),
    ("29.30.1", "29.30", False),
    ("29,30", "2930", False),
    ("029", "29", False),  # a code
    ("\u0662\u0669", "29", True),  # 29 in Arabic digits
    ("1" * 300, "29", False),
    ("29/0", "29", False),
    ("29 USD", "29", True),
    ("29\u00b0C", "29", True),
    ("29m", "29", True),  # metres
    ("29M", "29", False),
    ("$29M", "29000000", True),
    ("29bn", "29", False),
    ("29\u00b2", "29", False),
    ("29\u2030", "29", False),
    ("minus 29", "29", False),
    ("It is negative 29.", "-29", True),
    ("58 = 87 minus 29", "-29", False),
    ("29\uff05", "29", False),
    ("29 pct", "29%", True),
    ("29 pct", "29", False),
    ("29 and a half", "29", False),
    ("29 and a half hours", "29.5", True),
    ("No.29", "29", True),
    (r"\tfrac{58}{2}", "29", True),
    (r"$\boxed{\$29}$", "29", True),
    ("\uff12\uff19", "29", True),
    ("29-year-old", "29", True),
    ("29/30", "29", False),
    ("29 to 30", "29", False),
    ("1{,}029", "29", False),
    ("29\u200b", "29", True),
]


def judged(text: str, reference: str, pattern: str) -> bool:
    common = {"prompt": "?", "finish_reason": "stop", "seed": 0, "tokens": 1}
    return wrong_because(Candidate(id="q/0", prompt_id="q", text=text, **common), reference, pattern) is None


@pytest.mark.parametrize("pattern", [LAST_NUMBER, ""])
@pytest.mark.parametrize(("answer", "reference", "right"), CASES)
def test_an_answer_is_right_where_its_number_is_the_reference(
    answer: str, reference: str, right: bool, pattern: str
) -> None:
    """Whether the pattern finds a part of the number (29 of 29 %, 2 of 58/2) or there is none."""
    assert judged(answer, reference, pattern) is right


@pytest.mark.parametrize(("answer", "reference", "right"), CASES)
def test_the_reference_of_a_file_is_compared_as_the_answer_is(answer: str, reference: str, right: bool) -> None:
    """What GSM8K's pattern takes out of a reference solution is the same number as the bare one."""
    found = extract_answer(f"Because.\n#### {reference}", GSM8K)
    assert found is not None
    assert judged(answer, found, LAST_NUMBER) is right


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("#### 29", True),
        ("#### $29.00.", True),
        ("**#### 29**", True),
        ("#### 29 dollars", True),
        ("#### 29 %", False),
        ("#### -29", False),
        ("3 * 9 = 27\n#### 29", True),
    ],
)
def test_what_stands_after_the_mark_of_gsm8k_is_read_as_a_number(text: str, right: bool) -> None:
    assert judged(text, "29", GSM8K) is right


def test_a_pattern_that_leaves_a_sign_out_is_taken_at_its_word() -> None:
    """The recipe says that the answer is what stands before the percent sign, or after the dollar."""
    assert judged("It is 29%.", "29", r"(?P<answer>\d+)%")
    assert judged("It is -$29.", "29", r"\$(?P<answer>\d+)")


def test_several_numbers_are_no_answer_unless_a_calculation_says_which() -> None:
    assert judged("12 + 17 = 29", "29", "")
    assert not judged("28 or 29", "29", "")
    assert judged("So: 12 + 17 = 29 apples.", "29", r"So: (?P<answer>.+)")
    assert not judged("So: 28 or 29.", "29", r"So: (?P<answer>.+)")


def test_texts_are_compared_letter_by_letter() -> None:
    assert judged(" Paris\n", "Paris", "")
    assert not judged("paris", "Paris", "")
    assert judged("it is (B)", "B", r"\((?P<answer>[A-D])\)")
    assert judged("01406", "01406", "")


def test_a_reference_is_a_number_only_where_it_is_nothing_else() -> None:
    assert number_value("**$1,029.00**") == 1029
    assert [number_value(text) for text in ("29 apples", "B2", "1 and 2", "007", "")] == [None] * 5


@pytest.mark.parametrize("text", ["1" + "." * 20000, "1." * 20000, "$" * 20000, "-" * 20000, "\\frac{" * 5000])
def test_a_degenerate_answer_costs_no_time(text: str) -> None:
    start = time.monotonic()
    assert only_value(text) in (None, 1)
    assert time.monotonic() - start < 2
