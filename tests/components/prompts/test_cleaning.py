"""What chatty writers put around a task comes off, what belongs to it stays."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from components.prompts.cleaning import clean

CASES = [json.loads(line) for line in Path(__file__).with_name("cases.jsonl").read_text().splitlines()]
WRITTEN = [case for case in CASES if "written" in case]


@pytest.mark.parametrize("case", WRITTEN, ids=lambda case: case["written"][:40])
def test_the_task_is_found_in_what_was_written(case: dict[str, Any]) -> None:
    assert clean(case["written"]) == case["cleaned"]


@pytest.mark.parametrize("case", WRITTEN, ids=lambda case: case["written"][:40])
def test_a_clean_task_stays_as_it_is(case: dict[str, Any]) -> None:
    if case["cleaned"]:
        assert clean(case["cleaned"]) == case["cleaned"]


def test_hostile_text_takes_no_time() -> None:
    """No pattern goes over the text again and again."""
    for part in ("Here is a ", "**Task ", "sure ", "<think>", "Task 9 (", "I'm sorry, but i ", "\n", "*", '"'):
        clean(part * 2000)
