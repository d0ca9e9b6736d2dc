"""How well a judge's scores agree with human ranks (Yuan et al. 2024, section 3.2.2).

The paper does not state how score ties count; three rules stand side by side, and ties left out is the one that fits
its numbers. The item of every figure is a prompt.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

from components.core.records import Reply, SeedPrompt
from components.metrics.correlation import kendall, spearman
from components.metrics.observations import Values
from components.pairs.scores import SCORE_TOLERANCE


def agreement(prompts: Sequence[SeedPrompt], scores: Mapping[str, float], perfect: float) -> dict[str, Values]:
    """Observations by metric and prompt; `scores` are mean scores by reply id, unscored replies are absent.

    A prompt on which a figure is undefined has no observation of it: no pair with different ranks and two scores, an
    unscored reply (exact match), constant scores (correlations), no perfect score (five_best).
    """
    observed: dict[str, Values] = {}
    for prompt in prompts:
        ranked = [reply for reply in prompt.replies if reply.rank is not None]
        for metric, values in _of_prompt(ranked, scores, perfect).items():
            observed.setdefault(metric, {})[prompt.id] = values
    return observed


def unscored_pairs(prompts: Sequence[SeedPrompt], scores: Mapping[str, float]) -> int:
    """Pairs of replies with different ranks of which one has no score."""
    pairs = [pair for prompt in prompts for pair in _pairs(prompt.replies)]
    return sum(better.id not in scores or worse.id not in scores for better, worse in pairs)


def undefined_correlations(prompts: Sequence[SeedPrompt], scores: Mapping[str, float]) -> int:
    """Prompts with two scored replies or more whose scores, or ranks, are all the same."""
    scored = [[r for r in p.replies if r.rank is not None and r.id in scores] for p in prompts]
    return sum(len(replies) >= 2 and not _correlations(replies, scores) for replies in scored)


def _of_prompt(ranked: Sequence[Reply], scores: Mapping[str, float], perfect: float) -> Values:
    scored, pairs = [reply for reply in ranked if reply.id in scores], _pairs(ranked)
    values = _pairwise(scored, scores)
    if pairs and len(scored) == len(ranked):
        gaps = [scores[better.id] - scores[worse.id] for better, worse in pairs]
        values["exact_match"] = (float(all(gap > SCORE_TOLERANCE for gap in gaps)),)
    values.update(_correlations(scored, scores))
    if best := [reply for reply in scored if scores[reply.id] >= perfect - SCORE_TOLERANCE]:
        # human ranks count from the best reply that the prompt has: none is 0 where that one was dropped
        values["five_best"] = (sum(reply.rank == 0 for reply in best), len(best))
    return values


def _pairs(replies: Sequence[Reply]) -> list[tuple[Reply, Reply]]:
    """Pairs with different human ranks, the better one first."""
    ranked = sorted((r for r in replies if r.rank is not None), key=lambda r: r.rank or 0)
    return [(better, worse) for better, worse in combinations(ranked, 2) if better.rank != worse.rank]


def _pairwise(scored: Sequence[Reply], scores: Mapping[str, float]) -> Values:
    gaps = [scores[better.id] - scores[worse.id] for better, worse in _pairs(scored)]
    if not gaps:
        return {}
    agree = sum(gap > SCORE_TOLERANCE for gap in gaps)
    ties = sum(abs(gap) <= SCORE_TOLERANCE for gap in gaps)
    pairs = len(gaps)
    return {
        "pairwise_accuracy": (agree, pairs - ties),
        "pairwise_accuracy_half": (agree + ties / 2, pairs),
        "pairwise_accuracy_strict": (agree, pairs),
        "pairwise_tie_rate": (ties, pairs),
    }


def _correlations(scored: Sequence[Reply], scores: Mapping[str, float]) -> Values:
    values, ranks = [scores[reply.id] for reply in scored], [-(reply.rank or 0) for reply in scored]
    rho, tau = spearman(values, ranks), kendall(values, ranks)
    return {} if rho is None or tau is None else {"spearman": (rho,), "kendall": (tau,)}
