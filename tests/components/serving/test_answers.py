"""What is an answer, and what is not: answers.jsonl holds choices as engines and gateways give them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.serving.answers import LENGTH, STOP, read_choice, split_reasoning, unanswered

CASES = [json.loads(line) for line in Path(__file__).with_name("answers.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['finish']} {json.dumps(case['choice'])[-60:]}")
def test_a_choice_is_read(case: dict[str, Any]) -> None:
    answer = read_choice(case["choice"])
    assert answer.finish_reason == case["finish"]
    assert answer.text == (case["text"] or "")
    if "reasoning" in case:
        assert answer.reasoning == case["reasoning"]


def test_why_there_is_no_answer_is_told_in_words() -> None:
    assert unanswered(STOP) is None and unanswered(LENGTH) is None
    assert unanswered("prompt_too_long") == "prompt too long"
    assert unanswered("content_filter") == "content_filter"


@given(st.text(), st.text(alphabet=st.characters(blacklist_characters="<>[]◁▷|`'\"")))
def test_a_thought_never_becomes_the_answer(thought: str, answer: str) -> None:
    thought = thought.replace("</think>", "")
    assert split_reasoning(f"<think>{thought}</think>\n{answer}")[1] == answer.lstrip()


@given(st.text(alphabet=st.characters(blacklist_characters="<[◁")))
def test_a_text_without_a_thought_stays_as_it_is(text: str) -> None:
    assert split_reasoning(text) == ("", text)


FIELDS = st.sampled_from(["message", "content", "type", "text", "thinking", "reasoning", "finish_reason", "refusal"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.sampled_from(["stop", "thinking", "text"]),
    lambda inner: st.lists(inner) | st.dictionaries(FIELDS, inner),
)


@given(st.dictionaries(FIELDS, JSON))
def test_any_choice_is_read(choice: dict[str, Any]) -> None:
    """A text comes with a known end alone."""
    answer = read_choice(choice)
    assert not answer.text or answer.finish_reason in (STOP, LENGTH)
