"""The spread of a figure between trainings."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest

from components.metrics.spread import spread


def test_three_trainings_by_hand() -> None:
    """1, 2, 6: mean 3; squares of the distances 4 + 1 + 9 = 14, by n - 1 = 2: sd = sqrt(7). Student's t of 97.5 % with
    two degrees of freedom is 4.302653 (any table), so one more training lies within 4.302653 sqrt(7) sqrt(4/3)."""
    found = spread([1.0, 2.0, 6.0], 0.95)
    assert found[:2] == (3.0, pytest.approx(sqrt(7)))
    reach = 4.302653 * sqrt(7) * sqrt(4 / 3)
    assert (found.low, found.high) == (pytest.approx(3 - reach, abs=1e-5), pytest.approx(3 + reach, abs=1e-5))


@pytest.mark.parametrize(("trainings", "deviations"), [(2, 15.6), (3, 5.0), (5, 3.0)])
def test_how_far_the_next_training_may_lie(trainings: int, deviations: float) -> None:
    """What the documentation says of few trainings."""
    found = spread([float(n) for n in range(trainings)], 0.95)
    assert found.mean is not None and found.high is not None and found.deviation is not None
    assert (found.high - found.mean) / found.deviation == pytest.approx(deviations, abs=0.05)


@pytest.mark.parametrize("trainings", [2, 3, 6])
def test_the_next_training_lies_inside_as_often_as_promised(trainings: int) -> None:
    """Of normal draws 95 %; with 2000 repetitions the share's standard error is 0.5 %."""
    draws = np.random.default_rng(0).normal(0.5, 0.02, size=(2000, trainings + 1))
    inside = 0
    for *seen, following in draws.tolist():
        found = spread(seen, 0.95)
        assert found.low is not None and found.high is not None
        inside += found.low <= following <= found.high
    assert inside / len(draws) == pytest.approx(0.95, abs=0.015)


def test_one_training_has_no_spread_and_none_has_no_mean() -> None:
    """Nothing is taken for 0."""
    assert spread([2.0], 0.95) == (2.0, None, None, None)
    assert spread([], 0.95) == (None, None, None, None)


def test_equal_trainings_have_a_spread_of_none() -> None:
    assert spread([0.5, 0.5, 0.5], 0.95) == (0.5, 0.0, 0.5, 0.5)
