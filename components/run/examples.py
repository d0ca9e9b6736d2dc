"""Answers of a round as a person should see them: the best, the worst, some at random, with the judge's own words."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from components.core.hashing import seed_from
from components.core.record_table import Again, RecordTable
from components.core.records import Candidate, Judgement
from components.core.stage import each_record
from components.judging.judging import mean_scores

OF_EACH = {"best": 2, "worst": 2, "random": 3}
LONGEST = 2000  # characters of a text that are shown


@dataclass(frozen=True)
class Example:
    """An answer with its mean score; `judgements` are the score, or why there is none, and the judge's words."""

    why: str
    prompt: str
    answer: str
    score: float
    judgements: Sequence[tuple[str, str]]


def examples(candidates: str, judgements: str) -> list[Example]:
    """Of the scored candidates of two stages (URIs), at most one of each prompt; the draws are the same every time."""
    answers = RecordTable(Candidate, each_record(candidates, "candidates", Candidate))
    judged = Again(lambda: each_record(judgements, "judgements", Judgement))
    scores = {id: score for id, score in mean_scores(judged).items() if id in answers}
    ordered = sorted(scores, key=lambda id: (-scores[id], id))
    drawn = random.Random(seed_from("examples", judgements)).sample(ordered, len(ordered))
    chosen: dict[str, str] = {}  # why, by candidate
    prompts: set[str] = set()
    for (why, number), ids in zip(OF_EACH.items(), (ordered, ordered[::-1], drawn), strict=True):
        for id in ids:
            if list(chosen.values()).count(why) < number and answers[id].prompt_id not in prompts:
                chosen[id] = why
                prompts.add(answers[id].prompt_id)
    said: dict[str, list[tuple[str, str]]] = {id: [] for id in chosen}
    for one in judged:
        if one.candidate_id in said:
            score = f"no score: {one.unparsed}" if one.score is None else f"score {one.score:g}"
            said[one.candidate_id].append((score, shortened(one.completion)))
    return [
        Example(why, shortened(answers[id].prompt), shortened(answers[id].text), scores[id], said[id])
        for id, why in chosen.items()
    ]


def shortened(text: str) -> str:
    left = len(text) - LONGEST
    return text if left <= 0 else f"{text[:LONGEST]} … ({left:,} more characters)"
