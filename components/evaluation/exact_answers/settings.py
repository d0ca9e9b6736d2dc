from __future__ import annotations

from functools import partial
from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field

from components.core.regex import checked
from components.core.settings import Settings

AnswerPattern = Annotated[str, AfterValidator(partial(checked, group="answer"))]


class QuestionsSettings(Settings):
    """Questions with reference answers, one JSON object a line: `question` or `prompt`, and `answer`."""

    # The content counts, by its digest, and not the place from which it was read.
    non_key_fields: ClassVar[frozenset[str]] = frozenset({"questions"})

    questions: str = Field(description="JSON Lines or Parquet: path, s3://bucket/key, or hub file as owner/name/path")
    count: int | None = Field(None, ge=1, description="only the first so many; null: all")
    reference_pattern: AnswerPattern = Field(
        "",
        description=r"where the reference answer stands, as (?P<answer>...): ####\s*(?P<answer>\S+) for GSM8K; "
        "empty: the whole text. Numbers are compared by their value",
    )

    def only_questions(self) -> QuestionsSettings:
        """The part that decides which questions are asked."""
        return QuestionsSettings(**{name: getattr(self, name) for name in QuestionsSettings.model_fields})


class ExactAnswersSettings(QuestionsSettings):
    """How the model is asked, sampled and greedily; all else is drawn as `evaluation.answers` says."""

    # What decides the questions counts by the digest of their stage.
    non_key_fields: ClassVar[frozenset[str]] = frozenset(QuestionsSettings.model_fields)

    samples: int = Field(4, ge=1, description="sampled answers to each question, beside the greedy one")
    temperature: float = Field(0.7, gt=0, description="of the sampled answers")
    pattern: AnswerPattern = Field(
        "",
        description=r"where the model's answer stands, the last match counting: (?P<answer>-?\d[\d,]*(\.\d+)?) is the "
        "last number; empty: the whole text, or the one number in it where the reference is a number",
    )
