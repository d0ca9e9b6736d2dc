"""A question to a person: which of two answers is better, or what score one deserves (issue 15)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

from components.core.hashing import content_hash, short_id
from components.core.records import Judgement

Kind = Literal["order", "score"]
Rater = Literal["judge", "annotator"]
Choice = Literal["first", "second", "tie"]
LARGE_SPREAD = 2.0  # points between the highest and the lowest of the K scores of one answer
OTHER: dict[Choice, Choice] = {"first": "second", "second": "first", "tie": "tie"}


@dataclass(frozen=True)
class Item:
    """One question to a person: which of two `answers` is better, or what score the only one deserves.

    `told` is what the rater said of it, a choice or a mean score; None: nothing that could be read. `hard` says why the
    item is in dispute ("": it is not), `words` are the rater's own, each with what was read from it. `id` is a hash of
    the texts, so that a label never counts for another text than its person saw.
    """

    id: str
    kind: Kind
    rater: Rater
    prompt: str
    answers: tuple[str, ...]
    told: Choice | float | None
    hard: str
    words: tuple[tuple[str, str], ...]


def score_item(question: str, answer: str, judgements: Sequence[Judgement]) -> Item:
    id = short_id("score", question, answer)
    hard = unclear([judgements])
    return Item(id, "score", "judge", question, (answer,), mean_score(judgements), hard, tuple(words_of(judgements)))


def order_item(
    rater: Rater,
    question: str,
    answers: tuple[str, str],
    told: Choice | None,
    hard: str,
    words: Sequence[tuple[str, str]],
) -> Item:
    """Which answer stands first is decided by a hash of the texts: a person cannot tell the judge's choice by it."""
    id = short_id("order", rater, question, *sorted(answers))
    if content_hash([id, answers[0]]) > content_hash([id, answers[1]]):
        answers, told = answers[::-1], OTHER[told] if told else None
    return Item(id, "order", rater, question, answers, told, hard, tuple(words))


def mean_score(judgements: Sequence[Judgement]) -> float | None:
    scores = [one.score for one in judgements if one.score is not None]
    return fmean(scores) if scores else None


def words_of(judgements: Iterable[Judgement]) -> list[tuple[str, str]]:
    return [
        (f"no score: {one.unparsed}" if one.score is None else f"score {one.score:g}", one.completion)
        for one in judgements
    ]


def unclear(rated: Sequence[Sequence[Judgement]]) -> str:
    """Why the judge's scores of these answers are no clear ones; "" where they are."""
    for judgements in rated:
        scores = [one.score for one in judgements if one.score is not None]
        if len(scores) < len(judgements):
            return "a judgement could not be read"
        if max(scores) - min(scores) >= LARGE_SPREAD:
            return "the judge's scores lie far apart"
    return ""
