"""Agreement of scores with human ranks, by hand."""

from __future__ import annotations

from math import sqrt

import pytest
from scipy.stats import kendalltau, spearmanr

from components.core.records import Reply, SeedPrompt
from components.evaluation.reward_modelling import agreement, undefined_correlations, unscored_pairs
from components.metrics.bootstrap import Resampling
from components.metrics.observations import figures


def prompt(*ranks: int | None, id: str = "p") -> SeedPrompt:
    replies = [Reply(id=f"{id}{n}", text="t", rank=rank) for n, rank in enumerate(ranks)]
    return SeedPrompt(id=id, text="q", replies=replies)


def scored(*scores: float | None, id: str = "p") -> dict[str, float]:
    """Scores of a prompt's replies in order, None is an unscored one."""
    return {f"{id}{n}": score for n, score in enumerate(scores) if score is not None}


def of_one(ranks: tuple[int | None, ...], scores: tuple[float | None, ...]) -> dict[str, tuple[float, ...]]:
    """The observations of a single prompt by metric."""
    return {metric: values["p"] for metric, values in agreement([prompt(*ranks)], scored(*scores), 5).items()}


def test_tied_scores_are_left_out_count_half_or_are_wrong() -> None:
    """Ranks 0 1 2, scores 5 3 3: two of three pairs agree and one is tied: 2 of 2, 2.5 of 3, 2 of 3."""
    found = of_one((0, 1, 2), (5, 3, 3))
    assert found["pairwise_accuracy"] == (2, 2)
    assert found["pairwise_accuracy_half"] == (2.5, 3)
    assert found["pairwise_accuracy_strict"] == (2, 3)
    assert found["pairwise_tie_rate"] == (1, 3)


def test_with_ties_alone_accuracy_is_undefined_unless_ties_count() -> None:
    """Half of it is right by one rule, none by another, and with ties left out nothing is known: 0 of 0."""
    found = of_one((0, 1, 2), (3, 3, 3))
    assert found["pairwise_accuracy"] == (0, 0)
    assert found["pairwise_accuracy_half"] == (1.5, 3)
    assert found["pairwise_accuracy_strict"] == (0, 3)
    metrics = figures(agreement([prompt(0, 1)], scored(3, 3), 5), Resampling(resamples=10))
    assert "pairwise_accuracy" not in metrics
    assert (metrics["pairwise_accuracy_half"], metrics["pairwise_accuracy_strict"]) == (0.5, 0)


def test_equal_means_of_different_sums_tie() -> None:
    """0.1 + 0.2 is 0.3 but for the last bit."""
    assert of_one((0, 1), ((0.1 + 0.2) / 2, 0.15))["pairwise_tie_rate"] == (1, 1)


def test_reversed_scores_have_an_accuracy_of_zero_by_every_rule_for_ties() -> None:
    found = of_one((0, 1, 2), (1, 2, 3))
    assert {found[f"pairwise_accuracy{rule}"] for rule in ("", "_half", "_strict")} == {(0, 3)}


def test_the_order_in_which_replies_are_listed_does_not_matter() -> None:
    assert of_one((2, 0, 1), (1, 3, 2)) == of_one((0, 1, 2), (3, 2, 1))


def test_pairs_are_pooled_over_prompts() -> None:
    """p: 3 of 3 pairs, q: 0 of 1: three quarters of the pairs, not the mean of 1 and 0. Exact match: 1 of 2 prompts."""
    scores = scored(5, 4, 3) | scored(1, 2, id="q")
    metrics = figures(agreement([prompt(0, 1, 2), prompt(0, 1, id="q")], scores, 5), Resampling(resamples=10))
    assert metrics["pairwise_accuracy"] == 0.75
    assert (metrics["exact_match"], metrics["exact_match_items"]) == (0.5, 2)


def test_an_unscored_reply_is_missing_and_not_the_worst() -> None:
    """Of the three pairs only that of the two scored replies counts, and the whole order is unknown."""
    found = of_one((0, 1, 2), (None, 4, 3))
    assert found["pairwise_accuracy_strict"] == (1, 1)
    assert "exact_match" not in found
    assert unscored_pairs([prompt(0, 1, 2)], scored(None, 4, 3)) == 2
    assert unscored_pairs([prompt(0, 1, 2)], {}) == 3


def test_unranked_replies_and_equal_ranks_make_no_pairs() -> None:
    assert of_one((None, 0), (1, 2)) == {}
    assert of_one((1, 1), (1, 2)) == {}
    assert unscored_pairs([prompt(None, 0), prompt(1, 1)], {}) == 0
    assert of_one((0, 1, 1), (3, 2, 1))["pairwise_accuracy"] == (2, 2)


@pytest.mark.parametrize(
    ("scores", "exact"),
    [((3, 2, 1), 1), ((5, 2, 1.5), 1), ((3, 1, 2), 0), ((3, 2, 2), 0), ((3, 3, 3), 0)],  # a tie fails
)
def test_exact_match_wants_the_whole_order(scores: tuple[float, ...], exact: int) -> None:
    assert of_one((0, 1, 2), scores)["exact_match"] == (exact,)


@pytest.mark.parametrize(
    ("scores", "spearman", "kendall"),
    [
        ((4, 3, 2, 1), 1, 1),
        ((1, 2, 3, 4), -1, -1),
        # ranks of the scores 3 4 1 2 against 4 3 2 1: sum of d^2 = 4; of six pairs (0,1) and (2,3) are discordant
        ((4, 5, 2, 3), 1 - 6 * 4 / (4 * 15), (4 - 2) / 6),
        # ranks 4 2 2 2 against 4 3 2 1: covariance 3, squares 3 and 5; tau-b: 3 pairs over sqrt(6 - 3 tied) sqrt(6)
        ((5, 1, 1, 1), 3 / sqrt(3 * 5), 3 / sqrt(3 * 6)),
    ],
)
def test_correlations_by_hand_and_as_scipy_says(scores: tuple[float, ...], spearman: float, kendall: float) -> None:
    """Of the score with minus the rank: a good judge has a positive one."""
    found = of_one((0, 1, 2, 3), scores)
    assert found["spearman"] == (pytest.approx(spearman),)
    assert found["kendall"] == (pytest.approx(kendall),)
    assert spearman == pytest.approx(spearmanr(scores, [0, -1, -2, -3]).statistic)
    assert kendall == pytest.approx(kendalltau(scores, [0, -1, -2, -3]).statistic)


def test_undefined_correlations_are_absent_and_counted() -> None:
    """p: constant scores. q: constant ranks. r: one scored reply, where nothing can be correlated. s: defined."""
    prompts = [prompt(0, 1), prompt(1, 1, id="q"), prompt(0, 1, id="r"), prompt(0, 1, id="s")]
    scores = scored(3, 3) | scored(1, 2, id="q") | scored(1, None, id="r") | scored(1, 2, id="s")
    assert undefined_correlations(prompts, scores) == 2
    assert set(agreement(prompts, scores, 5)["spearman"]) == {"s"}


@pytest.mark.parametrize(
    ("ranks", "scores", "expected"),
    [
        ((0, 1, 2), (5, 5, 3), (1, 2)),  # two perfect scores, one of them for the best
        ((0, 1), (4, 5), (0, 1)),
        ((0, 1), (5 - 1e-9, 4), (1, 1)),  # the mean of three fives, but for rounding
        ((1, 2), (5, 4), (0, 1)),  # the best reply was dropped
        ((0, None), (5, 5), (1, 1)),  # nobody ranked the other
    ],
)
def test_five_best_is_the_share_of_perfect_scores_that_the_best_reply_has(
    ranks: tuple[int | None, ...], scores: tuple[float, ...], expected: tuple[int, int]
) -> None:
    assert of_one(ranks, scores)["five_best"] == expected


def test_without_a_perfect_score_five_best_is_undefined() -> None:
    assert "five_best" not in of_one((0, 1), (4.9, 4))


def test_the_perfect_score_is_the_scales_highest() -> None:
    found = agreement([prompt(0, 1, 2)], scored(10, 10, 5), 10)
    assert found["five_best"] == {"p": (1, 2)}
