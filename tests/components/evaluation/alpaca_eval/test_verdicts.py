"""Which of two answers an annotator chose, from what it wrote."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.evaluation.alpaca_eval.verdicts import parse_identifier, parse_verdict

VERDICTS: list[tuple[str, str | None]] = [
    ("Verdict: A", "first"),
    ("Verdict: a tie", "tie"),
    ("Verdict: A tie", "tie"),
    ("Verdict: It's a tie.", "tie"),
    ("Verdict: Tie", "tie"),
    ("Verdict: TIE!", "tie"),
    ("Verdict: tie, both are good", "tie"),
    ("Verdict: a", None),
    ("Verdict: b", None),
    ("Verdict: [[B]]", "second"),
    ("**Verdict: B**", "second"),
    ("Verdict: (A)", "first"),
    ("Verdict： Ｂ", "second"),
    ("Verdict - B", "second"),
    ("Verdict:\nB", "second"),
    ("Verdict: Response A is better", "first"),
    ("Verdict: A is better than B", "first"),
    ("Verdict: A, because B is wrong", "first"),
    ("Verdict: A. B is wrong.", "first"),
    ("Verdict: A/B", None),
    ("Verdict: A or B", None),
    ("Verdict: A and B are equal", None),
    ("Verdict: A, B", None),
    ("Verdict: A B", None),
    ("Verdict: neither", None),
    ("Verdict: not A", None),
    ("Verdict: A if it is short", None),
    ("Verdict: A great answer, B", None),
    ("Verdict: AB", None),
    ("Verdict: A?", None),
    ("Verdict: \u0410", None),  # Cyrillic
    ("Verdict: A > B", None),
    ("Verdict: A over B", "first"),
    ("Verdict: A wins", "first"),
    ("Verdict: $\\boxed{B}$", "second"),
    ('{"verdict": "A"}', "first"),
    ('{"verdict": "A", "reason": "B says Verdict: B"}', "first"),
    ("Final verdict: B", "second"),
    ('Response A says "Verdict: A".\nVerdict: B', "second"),
    ('Verdict: B\nResponse A wrote "Verdict: A" itself.', "second"),
    ("Response A ends with Verdict: A, which is a trick.", None),
    ("Verdict: <A>", "first"),
    ("Verdict: A or tie", None),
    ("Verdict: A (tie)", None),
    ("Verdict: draw", "tie"),
    ("<think>Verdict: A</think>Verdict: tie", "tie"),
    ("Verdict: The better response is B", "second"),
    ("Verdict: Answer: B", "second"),
    ("Verdict: tie or A", None),
    ("Verdict: A<|im_end|>", "first"),
    ("Verdict: A, not B", None),
]
IDENTIFIERS: list[tuple[str, str | None]] = [
    ("m", "m"),
    ("M", "M"),
    (" m\n", "m"),
    ("**M**", "M"),
    ("M.", "M"),
    ('"m"', "m"),
    ("[M]", "M"),
    ("`m`", "m"),
    ("(m)", "m"),
    ("Model M", "M"),
    ("model: m", "m"),
    ("The better output is M.", "M"),
    ("m is better than M", "m"),
    ("m, because it is right", "m"),
    ("M\n\nIt is right", "M"),
    ("Output m", "m"),
    ("<think>M</think>m", "m"),
    ("Ｍ", "M"),
    ("m<|im_end|>", "m"),
    ("$\\boxed{M}$", "M"),
    ("both", None),
    ("mM", None),
    ("", None),
    ("I'm torn", None),
    ("m or M", None),
    ("m/M", None),
    ("M, m", None),
    ("not M", None),
    ("Mm", None),
    ("m?", None),
    ("M if short", None),
    ("m and M", None),
    ("M.m", None),
    ("5 m", None),
    ("model", None),
    ("A", None),
    ("The", None),
    ("neither m nor M", None),
    ("m M", None),
    ("May", None),
]


@pytest.mark.parametrize(("completion", "verdict"), VERDICTS)
def test_a_verdict_is_one_identifier_as_a_word_with_its_case(completion: str, verdict: str | None) -> None:
    assert parse_verdict(completion) == verdict


@pytest.mark.parametrize(("answer", "identifier"), IDENTIFIERS)
def test_a_plain_preference_is_one_identifier_as_a_word_with_its_case(answer: str, identifier: str | None) -> None:
    assert parse_identifier(answer, "mM") == identifier


def test_a_verdict_at_the_cut_may_be_the_beginning_of_another() -> None:
    assert parse_verdict("Verdict: A", cut=True) is None
    assert parse_verdict("Verdict: A\nBecause", cut=True) == "first"


QUOTED = st.lists(st.sampled_from(["Verdict: A", "Verdict: B", "tie", "**", "A", "'", "{", "}", " both ", ":"])).map(
    "".join
)


@given(quoted=QUOTED, own=st.sampled_from([("A", "first"), ("B", "second"), ("tie", "tie")]))
def test_what_an_annotator_quotes_changes_nothing(quoted: str, own: tuple[str, Any]) -> None:
    assert parse_verdict(f"One says: {quoted}\nI disagree.\nVerdict: {own[0]}") == own[1]
    assert parse_verdict(f'Verdict: {own[0]}\nOne ends on "{quoted}", which is a trick.') == own[1]


@pytest.mark.parametrize("part", ["Verdict: ", "Verdict: A ", "Verdict: A, ", '"Verdict: A" ', "{", " ", "model "])
def test_a_degenerate_answer_costs_no_time(part: str) -> None:
    start = time.monotonic()
    parse_verdict(part * (40_000 // len(part)))
    parse_identifier(part * (40_000 // len(part)), "mM")
    assert time.monotonic() - start < 2


@pytest.mark.parametrize(
    ("completion", "verdict"),
    [
        ("Better facts.\nVerdict: A", "first"),
        ("**Verdict:** B", "second"),
        ("Verdict: tie", "tie"),
        ("Verdict: Response A", "first"),
        ("Verdict: A? No.\nVerdict: B", "second"),  # the last one counts
        ("Verdict: A\nVerdict: neither", None),
        ("Verdict: Anna", None),
        ("I like both", None),
    ],
)
def test_the_last_verdict_counts_where_it_is_valid(completion: str, verdict: str | None) -> None:
    assert parse_verdict(completion) == verdict
