"""A benchmark of two questions in FastChat's form, one of them with a reference answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from components.core.records import Counts
from components.core.settings import Settings
from components.core.stage import VERSIONS, Stage

QUESTIONS = [
    {"question_id": 81, "category": "writing", "turns": ["Write a line.", "Now shorter."]},
    {"question_id": 111, "category": "math", "turns": ["What is 2+2?", "And doubled?"], "reference": ["4", "8"]},
]
REFERENCES = [{"question_id": 111, "model_id": "gpt-4", "choices": [{"index": 0, "turns": ["It is 4.", "It is 8."]}]}]
ONE = "[Question]\n{question}\n\n[The Start of Assistant's Answer]\n{answer}\n[The End of Assistant's Answer]"
TWO = (
    "<|The Start of Assistant A's Conversation with User|>\n\n### User:\n{question_1}\n\n### Assistant A:\n{answer_1}"
    "\n\n### User:\n{question_2}\n\n### Assistant A:\n{answer_2}"
)
REFERENCE_ONE = "[The Start of Reference Answer]\n{ref_answer_1}\n[The End of Reference Answer]\n\n"
REFERENCE_TWO = "### Reference answer:\n{ref_answer_1}\n\n### Reference answer:\n{ref_answer_2}\n\n"
PROMPTS = {
    "pair-v2": "{question} {answer_a} {answer_b}",
    "single-v1": ONE,
    "single-math-v1": REFERENCE_ONE + ONE,
    "single-v1-multi-turn": TWO,
    "single-math-v1-multi-turn": REFERENCE_TWO + TWO,
}


def write_lines(path: Path, lines: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.fixture
def benchmark_folder(tmp_path: Path) -> Path:
    """A folder like FastChat's llm_judge/data."""
    folder = tmp_path / "data"
    write_lines(folder / "mt_bench" / "question.jsonl", QUESTIONS)
    write_lines(folder / "mt_bench" / "reference_answer" / "gpt-4.jsonl", REFERENCES)
    prompts = [
        {"name": name, "type": "single", "system_prompt": f"You are {name}.", "prompt_template": template}
        for name, template in PROMPTS.items()
    ]
    write_lines(folder / "judge_prompts.jsonl", prompts)
    return folder


@pytest.fixture(autouse=True)
def _versions(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("mt_bench_answers", "mt_bench"):
        monkeypatch.setitem(VERSIONS, name, 1)


@pytest.fixture
def model(tmp_path: Path) -> str:
    """The URI of a finished stage that stands for a model."""
    stage = Stage(str(tmp_path / "store"), "base_model", Settings(), {})
    stage.publish(Counts())
    return stage.uri
