"""Questions with reference answers from a file, checked beforehand: GSM8K, or a set of one's own."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from typing import Any, NamedTuple

from components.core.data_files import is_parquet, read_json_lines, read_parquet_rows
from components.core.errors import UserError
from components.core.hashing import short_id
from components.core.records import Counts, Manifest, Question
from components.core.regex import last_match
from components.core.sources import Source, fetch
from components.core.stage import Stage
from components.evaluation.exact_answers.numbers import LONGEST, number_value, numbers, only_form, only_value
from components.evaluation.exact_answers.settings import QuestionsSettings

FORM = 'Give one object a line: {"question": ..., "answer": ...}, both texts; `prompt` may stand for `question`.'
_THOUSANDS = re.compile(r"(?<![\d,])[1-9]\d{0,2}(?:,\d{3})+(?![\d,]*\d)")


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


class Answer(NamedTuple):
    """What was found in a text: as it is compared where it is no number, and its value where it is one."""

    text: str
    value: Fraction | None

    def equals(self, reference: str) -> bool:
        """As numbers where the reference is one (1.50 is 1.5, 29 % is not 29), else letter by letter."""
        wanted = number_value(reference)
        return self.text == reference if wanted is None else self.value == wanted


def find_answer(text: str, pattern: str) -> Answer | None:
    """The answer in a text: the pattern's last match, None without one; without a pattern the whole text.

    A match in a number means all of it, sign, decimals and percent sign, as far as the pattern itself has not matched
    them outside its group: the 29 in "29%" is 29 %.
    """
    if not pattern:
        return Answer(text.strip(), only_value(text))
    match = last_match(pattern, text, "answer")
    if match is None:
        return None
    start, end = match.group_start, match.group_end
    left = start if match.start < start else max(0, start - LONGEST)
    right = end if match.end > end else min(len(text), end + LONGEST)
    near = [number for number in numbers(text, left, right) if number.start < end and number.end > start]
    found, number = text[start:end].strip(), only_value(text, start, end)
    if len(near) == 1 and only_form(text[start : max(start, near[0].start)] + text[min(end, near[0].end) : end]):
        found, number = text[near[0].start : near[0].end], near[0].value
    return Answer(_THOUSANDS.sub(lambda digits: digits[0].replace(",", ""), found), number)


def extract_answer(text: str, pattern: str) -> str | None:
    """The answer in a text as a text, None without one: 1,234 is 1234 where a pattern found it."""
    answer = find_answer(text, pattern)
    return answer.text if answer else None
