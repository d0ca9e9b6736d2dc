"""Questions with reference answers from a file, checked beforehand: GSM8K, or a set of one's own."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from components.core.data_files import is_parquet, read_json_lines, read_parquet_rows
from components.core.errors import UserError
from components.core.hashing import short_id
from components.core.records import Counts, Manifest, Question
from components.core.regex import last_match
from components.core.sources import Source, fetch
from components.core.stage import Stage
from components.evaluation.exact_answers.settings import QuestionsSettings

FORM = 'Give one object a line: {"question": ..., "answer": ...}, both texts; `prompt` may stand for `question`.'
_THOUSANDS = re.compile(r"(?<=\d),(?=\d)")


def import_questions(root: str, settings: QuestionsSettings) -> Manifest:
    """The questions stage: records "questions" (Question), in the order of the file.

    Raises UserError where a line is not in the form, or its reference answer cannot be found.
    """
    with fetch(settings.questions) as source:
        stage = Stage(root, "questions", settings, {"questions": source.parent()})
        if stage.manifest:
            return stage.manifest
        questions, dropped = read_questions(source, settings)
    if not questions:
        raise UserError(f"{source.name} holds no question", FORM)
    return stage.publish(Counts(kept={"questions": len(questions)}, dropped=dict(dropped)), {"questions": questions})


def read_questions(source: Source, settings: QuestionsSettings) -> tuple[list[Question], Counter[str]]:
    """The questions to ask, and how many were left out with the reason. Of equal questions the first one counts."""
    questions: dict[str, Question] = {}
    dropped: Counter[str] = Counter()
    for where, row in _rows(source):
        question = _question(where, row, settings.reference_pattern)
        if question.id in questions:
            dropped["question: stands there twice"] += 1
        elif settings.count is not None and len(questions) >= settings.count:
            dropped["question: more than asked for"] += 1
        else:
            questions[question.id] = question
    return list(questions.values()), dropped


def _rows(source: Source) -> Iterator[tuple[str, dict[str, Any]]]:
    if is_parquet(source.path):
        rows, unit = read_parquet_rows(source.path, source.name, ("question", "prompt", "answer")), "row"
    else:
        rows, unit = read_json_lines(source.path, source.name), "line"
    for number, row in rows:
        yield f"{source.name}, {unit} {number}", row


def _question(where: str, row: dict[str, Any], pattern: str) -> Question:
    text, answer = row.get("question", row.get("prompt")), row.get("answer")
    for name, value in (("question", text), ("answer", answer)):
        if not isinstance(value, str) or not value.strip():
            raise UserError(f"{where} has no text under {name!r}", FORM)
    reference = extract_answer(str(answer), pattern)
    if reference is None:
        raise UserError(
            f"{where}: reference_pattern finds no answer in {str(answer)[-60:]!r}",
            "Correct evaluation.exact_answers.reference_pattern, or that line.",
        )
    return Question(id=short_id(str(text)), text=str(text), answer=reference)


def extract_answer(text: str, pattern: str) -> str | None:
    """The answer in a text, as it is compared: the last match's, None without one.

    Without a pattern it is the text without the white space around it. With one, commas between digits go: 1,234 is
    1234. Numbers are compared as they are written, so 1.50 is not 1.5 (as GSM8K's own code does).
    """
    if not pattern:
        return text.strip()
    match = last_match(pattern, text, "answer")
    return _THOUSANDS.sub("", match["answer"].strip()) if match else None
