"""What a candidate is worth: by its judgements, by an answer that can be checked, or by chance."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from itertools import groupby
from statistics import fmean
from typing import NamedTuple

from components.core.hashing import seed_from
from components.core.record_table import NumberTable
from components.core.records import Candidate, Judgement, Question
from components.evaluation.exact_answers.questions import find_answer
from components.metrics.correlation import kendall

# Means of K scores are sums of floats; on any real grid (1/K, half points) different means are much further apart.
SCORE_TOLERANCE = 1e-6


class Score(NamedTuple):
    """A candidate's score, and how many parsed judgements it was made of: 0 where an answer was checked."""

    value: float
    votes: int


def _score(numbers: Iterable[float]) -> Score:
    value, votes = numbers
    return Score(value, int(votes))


def count_votes(judgements: Iterable[Judgement], by_majority: bool = False) -> MutableMapping[str, Score]:
    """Score and number of the parsed judgements by candidate id, on disk; a candidate without any is absent.

    The judgements of a candidate stand together. The score is their mean; by majority the score that most of them give,
    the mean of those that as many give.
    """
    scores = NumberTable(_score)
    for id, group in groupby(judgements, lambda judgement: judgement.candidate_id):
        if values := [judgement.score for judgement in group if judgement.score is not None]:
            counted = Counter(values)
            most = [value for value, number in counted.items() if number == max(counted.values())]
            scores[id] = Score(fmean(most if by_majority else values), len(values))
    return scores


def shuffle_scores(scores: Mapping[str, Score], seed: int) -> dict[str, Score]:
    """The same scores, shuffled among the same candidates: a judge that knows nothing, on the same scale.

    `scores` are by candidate id; their order does not matter.
    """
    shuffled = [scores[id] for id in sorted(scores)]
    random.Random(seed_from(seed, "shuffle scores")).shuffle(shuffled)
    return dict(zip(sorted(scores), shuffled, strict=True))


def checked_scores(
    candidates: Iterable[Candidate], questions: Sequence[Question], pattern: str, scale: tuple[float, float]
) -> dict[str, Score]:
    """By candidate id, of the prompts that are among the questions: the top of the scale where the answer is right.

    A candidate in which no answer is found is wrong. Prompts and questions are the same where their texts are; a
    prompt with a history never is one.
    """
    references = {question.id: question.answer for question in questions}
    scores: dict[str, Score] = {}
    for one in candidates:
        if one.prompt_id in references and not one.history:
            answer = find_answer(one.text, pattern)
            right = answer is not None and answer.equals(references[one.prompt_id])
            scores[one.id] = Score(scale[1] if right else scale[0], 0)
    return scores


def consistency(
    candidates: Iterable[Candidate], scores: Mapping[str, Score], previous: Mapping[str, Score]
) -> tuple[float | None, Counter[str]]:
    """How far two judges rank the candidates of a prompt in the same order, 0 to 1, and prompts without a ranking.

    The mean over prompts of (tau + 1) / 2, with Kendall's tau over the candidates that both have scored (CREAM, Wang et
    al. 2024, 2410.12735); None where no prompt has one.
    """
    by_prompt: dict[str, list[str]] = {}
    for one in candidates:
        if one.id in scores and one.id in previous:
            by_prompt.setdefault(one.prompt_id, []).append(one.id)
    taus: list[float] = []
    missing: Counter[str] = Counter()
    for prompt in {one.prompt_id for one in candidates}:
        ids = by_prompt.get(prompt, [])
        tau = kendall([scores[id].value for id in ids], [previous[id].value for id in ids])
        if tau is None:
            missing["consistency: prompt without two rankings"] += 1
        else:
            taus.append(tau)
    return fmean((tau + 1) / 2 for tau in taus) if taus else None, missing
