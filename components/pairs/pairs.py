"""Best against worst: one preference pair a prompt, or the reason why there is none."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any, NamedTuple

from components.core.context import open_step
from components.core.errors import UserError
from components.core.hashing import content_hash, seed_from
from components.core.progress import warn
from components.core.records import Candidate, Counts, Judgement, Manifest, Pair
from components.core.stage import Stage, each_record, parent, read_records
from components.pairs.settings import PairsSettings

# Means of K scores are sums of floats; on any real grid (1/K, half points) different means are much further apart.
SCORE_TOLERANCE = 1e-6


class Score(NamedTuple):
    """A candidate's score: the mean of the judgements that could be parsed, and how many those were."""

    mean: float
    votes: int


def pair_candidates(before: dict[str, Any]) -> str:
    """Pairs of the candidates and judgements of the model in the state `before`; returns their URI."""
    name, judged = before["name"], (before["candidates"], before["judgements"])
    with open_step(before["run"], f"pair {name.upper()}'s answers") as context:
        settings = context.section("pairs", PairsSettings).of_round(int(name[1:]))
        return context.make(f"{name}/pairs", lambda: make_pairs(context.store, settings, *judged))


def make_pairs(root: str, settings: PairsSettings, candidates: str, judgements: str) -> Manifest:
    """The pairs stage; raises UserError with the reasons when fewer than `min_pairs` are left."""
    inputs = {"candidates": parent(candidates), "judgements": parent(judgements)}
    stage = Stage(root, "pairs", settings, inputs)
    if stage.manifest:
        return stage.manifest
    sampled = read_records(candidates, "candidates", Candidate)
    scores = count_votes(each_record(judgements, "judgements", Judgement))
    if settings.shuffle_scores:
        warn("pairs.shuffle_scores: a control experiment, scores are dealt out at random among the candidates")
        scores = shuffle_scores(scores, settings.seed)
    pairs, dropped = select_pairs(sampled, scores, settings)
    if len(pairs) < settings.min_pairs:
        smaller = ", a smaller pairs.min_gap" if settings.min_gap else ""
        raise UserError(
            f"{len(pairs)} preference pairs are left of {len(sampled)} candidates, {settings.min_pairs} are needed "
            f"({', '.join(f'{n} {reason}' for reason, n in dropped.items())})",
            "Use more prompts (prompts.count), a longer sampling.max_tokens or judging.max_tokens"
            f"{smaller}, or a better judge.",
        )
    metrics = {  # lengths are in characters: chosen answers that grow are the first sign of reward hacking
        "chosen_length": fmean(len(p.chosen) for p in pairs),
        "rejected_length": fmean(len(p.rejected) for p in pairs),
        "score_gap": fmean(p.chosen_score - p.rejected_score for p in pairs),
        "chosen_votes": fmean(scores[p.chosen_id].votes for p in pairs),
        "rejected_votes": fmean(scores[p.rejected_id].votes for p in pairs),
    }
    counts = Counts(kept={"pairs": len(pairs)}, dropped=dict(dropped))
    return stage.publish(counts, {"pairs": pairs}, metrics=metrics)


def count_votes(judgements: Iterable[Judgement]) -> dict[str, Score]:
    """Mean and number of the parsed judgements by candidate id; a candidate without any is absent."""
    votes: dict[str, list[float]] = {}
    for judgement in judgements:
        if judgement.score is not None:
            votes.setdefault(judgement.candidate_id, []).append(judgement.score)
    return {id: Score(fmean(scores), len(scores)) for id, scores in votes.items()}


def shuffle_scores(scores: Mapping[str, Score], seed: int) -> dict[str, Score]:
    """The same scores, shuffled among the same candidates: a judge that knows nothing, on the same scale.

    `scores` are by candidate id; their order does not matter.
    """
    shuffled = [scores[id] for id in sorted(scores)]
    random.Random(seed_from(seed, "shuffle scores")).shuffle(shuffled)
    return dict(zip(sorted(scores), shuffled, strict=True))


def select_pairs(
    candidates: Sequence[Candidate], scores: Mapping[str, Score], settings: PairsSettings
) -> tuple[list[Pair], Counter[str]]:
    """Pairs by prompt, and what was dropped by reason. `scores` are by candidate id, `settings` those of the round."""
    by_prompt: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        by_prompt.setdefault(candidate.prompt_id, []).append(candidate)
    pairs: list[Pair] = []
    dropped: Counter[str] = Counter()
    for group in by_prompt.values():
        usable, reasons = _usable(group, scores)
        dropped += reasons
        pair = _pair(usable, scores, settings)
        if isinstance(pair, Pair):
            pairs.append(pair)
        else:
            dropped[pair] += 1
    return pairs, dropped


def _usable(group: Sequence[Candidate], scores: Mapping[str, Score]) -> tuple[list[Candidate], Counter[str]]:
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


def _pair(group: Sequence[Candidate], scores: Mapping[str, Score], settings: PairsSettings) -> Pair | str:
    """The prompt's pair, or why it has none."""
    if len(group) < 2:
        return "prompt: fewer than two scored candidates"
    means = {c.id: scores[c.id].mean for c in group}
    if max(means.values()) - min(means.values()) <= SCORE_TOLERANCE:
        return "prompt: tie"
    chosen, rejected = _extremes(group, means, settings)
    gap = means[chosen.id] - means[rejected.id]
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
        chosen_score=means[chosen.id],
        rejected_score=means[rejected.id],
        chosen_votes=scores[chosen.id].votes,
        rejected_votes=scores[rejected.id].votes,
        chosen_reasoning=chosen.reasoning,
        rejected_reasoning=rejected.reasoning,
    )


def _extremes(
    group: Sequence[Candidate], means: Mapping[str, float], settings: PairsSettings
) -> tuple[Candidate, Candidate]:
    """Chosen and rejected.

    With rho = 0 they are the best and the worst. The method prefers no length, so that a hash of seed and id decides
    among equal scores: the shortest best and the longest worst would teach brevity. With length control (rho > 0)
    chosen is the shortest text within rho of the best score, rejected the longest within rho of the worst; texts are
    measured in characters, and the hash decides among equal lengths.
    """
    rho, low, high = settings.length_control[0], min(means.values()), max(means.values())
    near_best = [c for c in group if means[c.id] >= (1 - rho) * high + rho * low - SCORE_TOLERANCE]
    near_worst = [c for c in group if means[c.id] <= (1 - rho) * low + rho * high + SCORE_TOLERANCE]
    length = {c.id: len(c.text) if rho else 0 for c in group}
    drawn = {c.id: content_hash([settings.seed, "tie", c.id]) for c in group}
    chosen = min(near_best, key=lambda c: (length[c.id], drawn[c.id]))
    rejected = min(near_worst, key=lambda c: (-length[c.id], drawn[c.id]))
    return chosen, rejected
