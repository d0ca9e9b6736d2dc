"""Agreement of scores with human ranks."""

from components.evaluation.reward_modelling import pairwise_accuracy
from components.records import Reply, SeedPrompt


def prompt(*ranks: int | None) -> SeedPrompt:
    return SeedPrompt(
        id="p", text="q", replies=[Reply(id=f"r{n}", text="t", rank=rank) for n, rank in enumerate(ranks)]
    )


def test_ties_are_excluded_and_counted() -> None:
    """Ranks 0 < 1 < 2 with scores 5, 3, 3: the pairs (0,1) and (0,2) agree, (1,2) is tied: 2 of 2, one tie of three."""
    metrics = pairwise_accuracy([prompt(0, 1, 2)], {"r0": 5, "r1": 3, "r2": 3})
    assert metrics == {"pairwise_pairs": 3, "pairwise_ties": 1, "pairwise_unscored": 0, "pairwise_accuracy": 1.0}


def test_disagreement_counts_against() -> None:
    """Scores 1, 2, 3 against ranks 0, 1, 2: every pair is the wrong way round."""
    assert pairwise_accuracy([prompt(0, 1, 2)], {"r0": 1, "r1": 2, "r2": 3})["pairwise_accuracy"] == 0.0


def test_an_unscored_reply_is_missing_and_not_the_worst() -> None:
    metrics = pairwise_accuracy([prompt(0, 1)], {"r1": 3})
    assert metrics == {"pairwise_pairs": 0, "pairwise_ties": 0, "pairwise_unscored": 1}


def test_unranked_replies_and_equal_ranks_say_nothing() -> None:
    metrics = pairwise_accuracy([prompt(None, 0), prompt(1, 1)], {"r0": 1, "r1": 2})
    assert metrics["pairwise_pairs"] == 0
    assert "pairwise_accuracy" not in metrics
