"""What the two stages of MT-Bench write."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from components.core.records import Record


class Answer(Record):
    """The model's answer to one turn; `prompt` is that turn's question alone, `id` is "<question_id>/<turn>".

    `finish_reason` "length" means cut off: graded all the same. Any other says why there is no answer.
    """

    question_id: str
    category: str
    turn: Literal[1, 2]
    prompt: str
    text: str
    finish_reason: str
    seed: int
    tokens: int


class Rating(Record):
    """The annotator's rating of the answer with the same id, 1 to 10; None where there is none, `unparsed` says why."""

    question_id: str
    category: str
    turn: Literal[1, 2]
    completion: str
    rating: float | None
    unparsed: str | None = None
    judge_prompt: str = Field(description="SHA-256 of the judge prompt's system prompt and template")
    tokens: int
