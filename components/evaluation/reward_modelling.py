"""How well a judge's scores agree with human ranks (Yuan et al. 2024, section 3.2.2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

from components.pairs.pairs import SCORE_TOLERANCE
from components.records import SeedPrompt


def pairwise_accuracy(prompts: Sequence[SeedPrompt], scores: Mapping[str, float]) -> dict[str, float]:
    """Over pairs of replies to one prompt with different human ranks: how often the scores order them as humans did.

    Score ties are left out of the accuracy and counted beside it (the paper does not state its rule; this one fits its
    numbers). `scores` are mean scores by reply id; a pair with an unscored reply is counted as such. What is undefined
    is absent.
    """
    agree = tied = pairs = unscored = 0
    for prompt in prompts:
        ranked = [(reply.rank, reply.id) for reply in prompt.replies if reply.rank is not None]
        for (rank, id), (other_rank, other) in combinations(ranked, 2):
            if rank == other_rank:
                continue
            if id not in scores or other not in scores:
                unscored += 1
                continue
            pairs += 1
            gap = scores[id] - scores[other]
            tied += abs(gap) <= SCORE_TOLERANCE
            agree += gap > SCORE_TOLERANCE if rank < other_rank else gap < -SCORE_TOLERANCE
    metrics = {"pairwise_pairs": float(pairs), "pairwise_ties": float(tied), "pairwise_unscored": float(unscored)}
    return metrics | ({"pairwise_accuracy": agree / (pairs - tied)} if pairs > tied else {})
