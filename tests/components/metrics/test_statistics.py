"""What each metric is, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from components.metrics.statistics import METRICS, ROUND, Statistic, entropy, mean, ratio


def rows(*values: tuple[float, ...]) -> np.ndarray:
    return np.array(values, dtype=np.float64)


def test_a_share_adds_up_before_it_divides() -> None:
    """Prompts of 1 and 3 pairs, 1 and 0 of them right: 1 of 4, and not the mean of 1/1 and 0/3, which is a half."""
    assert ratio(rows((1, 1), (0, 3))) == 0.25


def test_a_share_of_nothing_is_undefined() -> None:
    assert math.isnan(ratio(rows((0, 0), (0, 0))))


def test_a_mean_counts_every_item_once() -> None:
    assert mean(rows((1,), (0,), (-1,), (1,))) == 0.25


@pytest.mark.parametrize(
    ("counts", "bits"),
    [
        ((0, 0, 0, 0, 0, 7), 0.0),  # always 5
        ((2, 0, 0, 0, 0, 2), 1.0),  # two scores, evenly: log2 2
        ((1, 1, 1, 1, 1, 1), math.log2(6)),  # all six, evenly
        ((0, 0, 0, 1, 0, 3), 2 - 0.75 * math.log2(3)),  # 1/4 * 2 + 3/4 * (2 - log2 3)
    ],
)
def test_entropy_in_bits(counts: tuple[float, ...], bits: float) -> None:
    assert entropy(rows(counts)) == pytest.approx(bits)


def test_entropy_is_that_of_the_whole_histogram() -> None:
    """Two prompts, each with one score only, another one each: no entropy in either, one bit in both together."""
    assert entropy(rows((2, 0, 0, 0, 0, 0), (0, 0, 0, 0, 0, 2))) == 1.0


def test_entropy_of_no_scores_is_undefined() -> None:
    assert math.isnan(entropy(rows((0, 0, 0, 0, 0, 0))))


@pytest.mark.parametrize("statistic", [ratio, mean, entropy])
def test_stacked_resamples_are_measured_one_by_one(statistic: Statistic) -> None:
    """[2, 3, items, values] gives [2, 3], each as if it stood alone; nothing to count is undefined in its place."""
    stacked = np.random.default_rng(0).integers(0, 3, (2, 3, 4, 2)).astype(float)
    stacked[1, 1] = 0
    alone = [[float(statistic(one)) for one in row] for row in stacked]
    np.testing.assert_allclose(statistic(stacked), alone, equal_nan=True)


def test_items_with_nothing_to_count_do_not_weigh_in() -> None:
    """Of three prompts one has pairs without a tie; a mean of three zeros is made of three items all the same."""
    assert METRICS["pairwise_accuracy"].weighing(rows((0, 0), (0, 2), (0, 0))) == 1
    assert METRICS["net_win"].weighing(rows((0,), (0,), (0,))) == 3


def test_a_round_has_the_figures_of_its_judge() -> None:
    health = {"parse_rate", "score_entropy", "score_tie_rate", "score_variance", "score_length_correlation"}
    assert {name for name in METRICS if name.startswith(ROUND)} == {ROUND + one for one in health} | {
        "round_candidate_length"
    }
    assert all(METRICS[ROUND + name].statistic is METRICS[name].statistic for name in health)
    assert all(name == metric.name and metric.meaning for name, metric in METRICS.items())
