"""Rank correlations: those of scipy.stats, which the pods do without."""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt

import numpy as np
import pytest
from scipy.stats import kendalltau, spearmanr

from components.metrics.correlation import kendall, spearman

Correlation = Callable[[list[float], list[float]], float | None]
AS_SCIPY = pytest.mark.parametrize(("ours", "scipys"), [(spearman, spearmanr), (kendall, kendalltau)])


@AS_SCIPY
@pytest.mark.parametrize("values", [2, 3, 50])
def test_random_values_with_ties_correlate_as_in_scipy(
    ours: Correlation, scipys: Callable[..., object], values: int
) -> None:
    """500 draws of 2 to 12 replies: scores in `values` steps of a third (with 2 nearly all are tied), ranks below 6."""
    draw = np.random.default_rng(values)
    compared = 0
    for _ in range(500):
        size = int(draw.integers(2, 13))
        scores, ranks = (draw.integers(0, values, size) / 3).tolist(), draw.integers(0, 6, size).tolist()
        if len(set(scores)) > 1 and len(set(ranks)) > 1:
            compared += 1
            assert ours(scores, ranks) == pytest.approx(scipys(scores, ranks).statistic, abs=1e-12)
    assert compared > 300


@AS_SCIPY
@pytest.mark.parametrize(
    ("one", "other"), [([], []), ([1], [2]), ([3, 3, 3], [0, 1, 2]), ([0, 1, 2], [3, 3, 3]), ([1, 1], [1, 1])]
)
@pytest.mark.filterwarnings("ignore:One or more sample arguments is too small", "ignore:An input array is constant")
def test_what_scipy_leaves_undefined_is_none(
    ours: Correlation, scipys: Callable[..., object], one: list[float], other: list[float]
) -> None:
    assert ours(one, other) is None
    assert np.isnan(scipys(one, other).statistic)


@AS_SCIPY
@pytest.mark.parametrize("sign", [1, -1])
def test_two_values_agree_or_disagree_wholly(ours: Correlation, scipys: Callable[..., object], sign: int) -> None:
    one, other = [0.5, 2.5], [0, sign]
    assert ours(one, other) == pytest.approx(sign, abs=1e-12)
    assert ours(one, other) == pytest.approx(scipys(one, other).statistic, abs=1e-12)


def test_equal_values_share_their_mean_rank_and_make_no_untied_pair() -> None:
    """Scores 1 1 2 have ranks 1.5 1.5 3: covariance 1.5 over sqrt(1.5 * 2); 2 and 3 pairs are untied: 2 / sqrt(6)."""
    assert spearman([1, 1, 2], [1, 2, 3]) == pytest.approx(1.5 / sqrt(1.5 * 2))
    assert kendall([1, 1, 2], [1, 2, 3]) == pytest.approx(2 / sqrt(2 * 3))
