"""Questions with reference answers from a file, and what of a text is its answer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow.parquet import write_table
from pydantic import ValidationError

from components.core.errors import UserError
from components.core.records import Manifest, Question
from components.core.stage import read_records
from components.core.store import join
from components.evaluation.exact_answers.questions import extract_answer, import_questions
from components.evaluation.exact_answers.settings import ExactAnswersSettings, QuestionsSettings

LAST_NUMBER = r"(?P<answer>-?\d[\d,]*(\.\d+)?)"
GSM8K = r"####\s*(?P<answer>\S+)"
ROWS = [
    {"question": "2 + 3?", "answer": "Two and three make five.\n#### 5"},
    {"question": "900 + 134?", "answer": "#### 1,034"},
    {"question": "2 + 3?", "answer": "#### 5"},
    {"question": "1 + 1?", "answer": "#### 2"},
]


def import_rows(folder: Path, rows: Sequence[Any], **settings: Any) -> tuple[Manifest, list[Question]]:
    (folder / "q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return imported(folder, QuestionsSettings(questions=str(folder / "q.jsonl"), **settings))


def imported(folder: Path, settings: QuestionsSettings) -> tuple[Manifest, list[Question]]:
    root = str(folder / "store")
    manifest = import_questions(root, settings)
    return manifest, read_records(join(root, "questions", manifest.key), "questions", Question)


def test_the_references_are_extracted_and_what_is_left_out_is_counted(tmp_path: Path) -> None:
    """Of four lines the third repeats the first, and the fourth is one more than the two asked for."""
    manifest, questions = import_rows(tmp_path, ROWS, reference_pattern=GSM8K, count=2)
    assert [(one.text, one.answer) for one in questions] == [("2 + 3?", "5"), ("900 + 134?", "1034")]
    assert manifest.counts.kept == {"questions": 2}
    assert manifest.counts.dropped == {"question: stands there twice": 1, "question: more than asked for": 1}


def test_the_whole_answer_is_the_reference_without_a_pattern(tmp_path: Path) -> None:
    _, questions = import_rows(tmp_path, [{"prompt": "i 70395", "answer": " 81406 "}])
    assert [(one.text, one.answer) for one in questions] == [("i 70395", "81406")]


def test_questions_are_read_from_parquet(tmp_path: Path) -> None:
    write_table(pyarrow.Table.from_pylist(ROWS), tmp_path / "test.parquet")
    settings = QuestionsSettings(questions=str(tmp_path / "test.parquet"), reference_pattern=GSM8K)
    assert [one.answer for one in imported(tmp_path, settings)[1]] == ["5", "1034", "2"]


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"question": "q"}, "line 2 has no text under 'answer'"),
        ({"answer": "#### 1"}, "line 2 has no text under 'question'"),
        ({"question": "q", "answer": 5}, "line 2 has no text under 'answer'"),
        ({"question": " ", "answer": "#### 5"}, "line 2 has no text under 'question'"),
        ({"question": "q", "answer": "five"}, "line 2: reference_pattern finds no answer in 'five'"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, row: dict[str, Any], problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        import_rows(tmp_path, [ROWS[0], row], reference_pattern=GSM8K)


def test_a_file_without_a_question_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no question"):
        import_rows(tmp_path, [])


def test_the_key_follows_the_content_and_not_the_place(tmp_path: Path) -> None:
    first, _ = import_rows(tmp_path, ROWS)
    (tmp_path / "elsewhere").write_bytes((tmp_path / "q.jsonl").read_bytes())
    assert imported(tmp_path, QuestionsSettings(questions=str(tmp_path / "elsewhere")))[0].key == first.key
    assert import_rows(tmp_path, ROWS[:1])[0].key != first.key
    assert import_rows(tmp_path, ROWS, reference_pattern=GSM8K)[0].key != first.key


@pytest.mark.parametrize("field", ["pattern", "reference_pattern"])
@pytest.mark.parametrize(("pattern", "problem"), [("(", "must be a regular"), (r"(\d)", r"mark the answer as \(\?P<")])
def test_a_pattern_that_finds_no_answer_is_refused(field: str, pattern: str, problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        ExactAnswersSettings(questions="q.jsonl", **{field: pattern})


@pytest.mark.parametrize(
    ("text", "pattern", "answer"),
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
def test_the_answer_in_a_text_is_what_the_pattern_matches_last(text: str, pattern: str, answer: str | None) -> None:
    assert extract_answer(text, pattern) == answer
