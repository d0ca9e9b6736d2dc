"""Which two answers to a prompt become its preference pair, or why there is none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby

from components.core.hashing import content_hash
from components.core.record_table import RecordTable
from components.core.records import Candidate, Example, Pair
from components.pairs.scores import SCORE_TOLERANCE, Score
from components.pairs.settings import PairsSettings

FIRST, HUMAN = "first/", "human/"  # before the id of an answer that M1, or a person, gave


def select_pairs(
    candidates: Iterable[Candidate],
    scores: Mapping[str, Score],
    settings: PairsSettings,
    first: Sequence[Candidate] = (),
) -> tuple[RecordTable[Pair], Counter[str]]:
    """Pairs by prompt, and what was dropped by reason. `scores` are by candidate id, `settings` those of the round.

    The candidates of a prompt stand together. `first` are answers of the first model to the same prompts, of which the
    rejected ones are then taken.
    """
    rejectable: dict[str, list[Candidate]] = {}
    for candidate in first:
        rejectable.setdefault(candidate.prompt_id, []).append(candidate)
    pairs, dropped = RecordTable(Pair), Counter[str]()
    for prompt, group in groupby(candidates, lambda candidate: candidate.prompt_id):
        usable, reasons = _usable(group, scores)
        others, more = _usable(rejectable.get(prompt, []), scores) if first else (usable, Counter[str]())
        dropped += reasons + more
        pair = _pair(usable, others, scores, settings)
        if isinstance(pair, Pair):
            pairs.add([pair])
        else:
            dropped[pair] += 1
    return pairs, dropped


def human_pairs(examples: Iterable[Example], answers: Iterable[Candidate]) -> tuple[RecordTable[Pair], Counter[str]]:
    """The human answer chosen, the model's rejected (SPIN, Chen et al. 2024, 2401.01335): nobody scores them."""
    given = {answer.prompt_id: answer for answer in answers}
    pairs, dropped = RecordTable(Pair), Counter[str]()
    for example in examples:
        answer = given[example.id]
        if answer.finish_reason != "stop" or not answer.text:
            dropped["candidate: cut off, empty or unanswered"] += 1
        elif answer.text.split() == example.completion.split():
            dropped["prompt: equal texts"] += 1
        else:
            pair = Pair(
                id=example.id,
                prompt=example.prompt,
                history=example.history,
                chosen=example.completion,
                rejected=answer.text,
                chosen_id=HUMAN + example.id,
                rejected_id=answer.id,
                chosen_score=None,
                rejected_score=None,
                rejected_reasoning=answer.reasoning,
            )
            pairs.add([pair])
    return pairs, dropped


def _usable(group: Iterable[Candidate], scores: Mapping[str, Score]) -> tuple[list[Candidate], Counter[str]]:
    reasons: Counter[str] = Counter()
    usable = []
    for candidate in group:
        if candidate.finish_reason != "stop":
            reasons["candidate: cut off or unanswered"] += 1
        elif not candidate.text:
            reasons["candidate: empty"] += 1
        elif candidate.id not in scores:
            reasons["candidate: no parsed judgement"] += 1
        else:
            usable.append(candidate)
    return usable, reasons


def _pair(
    group: Sequence[Candidate], others: Sequence[Candidate], scores: Mapping[str, Score], settings: PairsSettings
) -> Pair | str:
    """The prompt's pair, chosen from the group and rejected from the others, or why it has none."""
    if not others or len({c.id for c in (*group, *others)}) < 2 or not group:
        return "prompt: fewer than two scored candidates"
    values = {c.id: scores[c.id].value for c in (*group, *others)}
    low, high = min(values[c.id] for c in others), max(values[c.id] for c in group)
    if abs(high - low) <= SCORE_TOLERANCE:
        return "prompt: tie"
    if high < low:
        return "prompt: no answer is better than the first model's worst"
    chosen, rejected = _extremes(group, others, values, settings)
    gap = values[chosen.id] - values[rejected.id]
    if chosen.text.split() == rejected.text.split():
        return "prompt: equal texts"
    if gap <= SCORE_TOLERANCE:
        return "prompt: tie within length control"
    if gap < settings.min_gap - SCORE_TOLERANCE:
        return "prompt: scores closer than min_gap"
    return Pair(
        id=chosen.prompt_id,
        prompt=chosen.prompt,
        history=chosen.history,
        chosen=chosen.text,
        rejected=rejected.text,
        chosen_id=chosen.id,
        rejected_id=rejected.id,
        chosen_score=values[chosen.id],
        rejected_score=values[rejected.id],
        chosen_votes=scores[chosen.id].votes,
        rejected_votes=scores[rejected.id].votes,
        chosen_reasoning=chosen.reasoning,
        rejected_reasoning=rejected.reasoning,
    )


def _extremes(
    group: Sequence[Candidate], others: Sequence[Candidate], values: Mapping[str, float], settings: PairsSettings
) -> tuple[Candidate, Candidate]:
    """Chosen from the group and rejected from the others, which are the same answers where Mt alone has answered.

    With rho = 0 they are the best and the worst. The method prefers no length, so that a hash of seed and id decides
    among equal scores: the shortest best and the longest worst would teach brevity. With length control (rho > 0)
    chosen is the shortest text within rho of the best score, rejected the longest within rho of the worst; texts are
    measured in characters, and the hash decides among equal lengths.
    """
    rho = settings.length_control[0]
    low, high = min(values[c.id] for c in others), max(values[c.id] for c in group)
    near_best = [c for c in group if values[c.id] >= (1 - rho) * high + rho * low - SCORE_TOLERANCE]
    near_worst = [c for c in others if values[c.id] <= (1 - rho) * low + rho * high + SCORE_TOLERANCE]
    length = {c.id: len(c.text) if rho else 0 for c in (*group, *others)}
    drawn = {c.id: content_hash([settings.seed, "tie", c.id]) for c in (*group, *others)}
    chosen = min(near_best, key=lambda c: (length[c.id], drawn[c.id]))
    rejected = min(near_worst, key=lambda c: (-length[c.id], drawn[c.id]))
    return chosen, rejected
