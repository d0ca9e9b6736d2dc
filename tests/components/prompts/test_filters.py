"""The filters of Self-Instruct, one by one."""

import pytest

from components.prompts.filters import rejection_reason
from components.prompts.prompts import clean, few_shot


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
def test_what_is_unfit_says_why(text: str, reason: str) -> None:
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
def test_what_is_fit_passes(text: str) -> None:
    assert rejection_reason(text, "stop") is None


def test_a_text_that_was_cut_is_dropped_whatever_it_says() -> None:
    assert rejection_reason("Name four common rivers", "length") == "cut off by length"


@pytest.mark.parametrize(
    ("written", "task"),
    [
        ("Task 9: Name a river", "Name a river"),
        ("9. Name a river", "9. Name a river"),
        ('"Name a river"', "Name a river"),
        ("  Name a river\n", "Name a river"),
        ("Task: Name a river", "Name a river"),
        ("Compare two things: tea and coffee", "Compare two things: tea and coffee"),
    ],
)
def test_labels_and_quotes_are_taken_off(written: str, task: str) -> None:
    assert clean(written) == task


def test_the_few_shot_prompt_holds_the_shots_and_nothing_else() -> None:
    """Its length depends on its shots alone: it does not grow from call to call."""
    prompt = few_shot(["one\nline", "two"])
    assert prompt.endswith("Task 1: one line\nTask 2: two\nTask 3:")
    assert few_shot(["one\nline", "two"]) == prompt
