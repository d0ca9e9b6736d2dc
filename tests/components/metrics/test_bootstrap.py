"""Intervals: the same as SciPy's, paired, prompts drawn whole, and right as often as they say."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import bootstrap

from components.metrics.bootstrap import Estimate, Observed, Resampling, difference, figure, growth, interval
from components.metrics.statistics import METRICS, Metric

MEAN, SHARE, ENTROPY = METRICS["win_rate"], METRICS["parse_rate"], METRICS["score_entropy"]


def observed(values: Sequence[Sequence[float]]) -> Observed:
    return {f"{n:04}": tuple(map(float, one)) for n, one in enumerate(values)}


def by_scipy(statistic: Callable[..., object], *samples: np.ndarray, how: Resampling) -> tuple[float, float]:
    found = bootstrap(
        samples,
        statistic,
        paired=True,
        method="percentile",
        n_resamples=how.resamples,
        confidence_level=how.confidence,
        rng=np.random.default_rng(how.seed),
    ).confidence_interval
    return float(found.low), float(found.high)


def bounds(estimate: Estimate) -> tuple[float, float]:
    assert estimate.low is not None and estimate.high is not None
    return estimate.low, estimate.high


@pytest.mark.parametrize("how", [Resampling(), Resampling(confidence=0.8, resamples=300, seed=5)])
def test_intervals_are_those_of_scipy(how: Resampling) -> None:
    """The same draws from the same seed, so the bounds are equal to the last digits, for each form of statistic."""
    draws = np.random.default_rng(1)
    one, other, weights = draws.random(60), draws.random(60), draws.integers(1, 5, 60)
    found = interval(MEAN, observed(one[:, None]), how)
    assert bounds(found) == pytest.approx(by_scipy(np.mean, one, how=how))
    found = interval(SHARE, observed(np.stack([one, weights], axis=1)), how)
    assert bounds(found) == pytest.approx(by_scipy(lambda a, b, axis: a.sum(axis) / b.sum(axis), one, weights, how=how))
    found = difference(MEAN, observed(one[:, None]), observed(other[:, None]), how)
    paired = by_scipy(lambda a, b, axis: a.mean(axis) - b.mean(axis), one, other, how=how)
    assert bounds(found) == pytest.approx(paired)
    found = growth(MEAN, observed(one[:, None]), observed(other[:, None]), how)
    assert bounds(found) == pytest.approx(by_scipy(lambda a, b, axis: a.mean(axis) / b.mean(axis), one, other, how=how))


@pytest.mark.parametrize(("name", "items"), [("mean", 200), ("share", 200), ("paired difference", 200), ("mean", 30)])
def test_the_interval_holds_the_truth_as_often_as_it_says(name: str, items: int) -> None:
    """Of 400 intervals at 95 %, 380 hold the truth (standard deviation sqrt(400 * 0.95 * 0.05) = 4.4).

    The percentile bootstrap is narrow by about sqrt((n - 1) / n) and takes z where t were right: at n = 30 the
    expected coverage is near 93.7 %. The bounds are 3.5 standard deviations away from 375 and from 380.
    """
    draws = np.random.default_rng(2)
    hits = sum(_holds_the_truth(name, items, draws) for _ in range(400))
    assert 375 - 17 <= hits <= 380 + 16


def _holds_the_truth(name: str, items: int, draws: np.random.Generator) -> bool:
    """Mean of a beta(2, 3): 0.4. Share of replies, 1 to 4 a prompt, prompts of unequal difficulty: 0.4 as well."""
    how = Resampling(resamples=400, seed=int(draws.integers(1 << 30)))
    easy = draws.beta(2, 3, items)
    if name == "mean":
        truth, found = 0.4, interval(MEAN, observed(easy[:, None]), how)
    elif name == "share":
        weights = draws.integers(1, 5, items)
        truth, found = 0.4, interval(SHARE, observed(np.stack([draws.binomial(weights, easy), weights], 1)), how)
    else:
        one, other = draws.binomial(1, easy), draws.binomial(1, easy)
        truth, found = 0.0, difference(MEAN, observed(one[:, None]), observed(other[:, None]), how)
    low, high = bounds(found)
    return low <= truth <= high


def test_replies_to_one_prompt_are_drawn_together() -> None:
    """40 prompts of 10 replies that are all right or all wrong carry 40 facts, not 400.

    The standard error of the share is sqrt(0.5 * 0.5 / 40) = 0.079, the interval 2 * 1.96 * 0.079 = 0.31 wide; were the
    replies independent it would be sqrt(10) times narrower, 0.098.
    """
    low, high = bounds(interval(SHARE, observed([(10 * (n % 2), 10) for n in range(40)]), Resampling()))
    assert 0.25 < high - low < 0.37


def test_models_are_compared_on_the_items_of_both() -> None:
    """a: 1 on the common p, q; b: 0 there. What only one of them has (0 and 1) would turn the difference around."""
    one: Observed = {"p": (1.0,), "q": (1.0,), "only": (-9.0,)}
    other: Observed = {"q": (0.0,), "p": (0.0,), "elsewhere": (9.0,)}
    assert difference(MEAN, one, other, Resampling()) == Estimate(1.0, 1.0, 1.0, 2)
    assert difference(MEAN, one, {"x": (1.0,)}, Resampling()) == Estimate(None, None, None, 0)


def test_pairing_takes_out_what_both_models_share() -> None:
    """Prompts differ by far more than the models: one is better by 0.1 on every prompt, so there is no doubt at all."""
    easy = np.random.default_rng(3).random(50)
    found = difference(MEAN, observed(easy[:, None] + 0.1), observed(easy[:, None]), Resampling())
    assert bounds(found) == pytest.approx((0.1, 0.1))
    low, high = bounds(interval(MEAN, observed(easy[:, None]), Resampling()))
    assert high - low > 0.1


def test_growth_is_a_quotient_of_means() -> None:
    """30 and 10 characters against 10 and 10: 40 / 20 = 2, and not the mean of 3 and 1 weighted otherwise."""
    found = growth(METRICS["answer_length"], observed([(30,), (10,)]), observed([(10,), (10,)]), Resampling())
    assert found.value == 2.0
    assert bounds(found) == (1.0, 3.0)
    assert growth(MEAN, observed([(1,)]), observed([(0,)]), Resampling()) == Estimate(None, None, None, 1)


@pytest.mark.parametrize("metric", [MEAN, SHARE, ENTROPY, METRICS["lc_win_rate"], METRICS["human_agreement"]])
def test_a_figure_alone_is_the_interval_s(metric: Metric) -> None:
    """Of no items, and of some as wide as the metric's: a preference, two lengths, a penalty; else part and whole."""
    width = 4 if metric.name == "lc_win_rate" else 2
    for rows in ([], [(n % 2, 1, n, 1)[:width] for n in range(12)]):
        seen = observed(rows)
        assert figure(metric, seen) == interval(metric, seen, Resampling(resamples=2)).value


def test_the_same_seed_gives_the_same_interval() -> None:
    values = observed(np.random.default_rng(4).random((50, 1)))
    assert interval(MEAN, values, Resampling(seed=7)) == interval(
        MEAN, dict(reversed(values.items())), Resampling(seed=7)
    )
    assert interval(MEAN, values, Resampling(seed=7)) != interval(MEAN, values, Resampling(seed=8))


def test_more_confidence_is_a_wider_interval() -> None:
    values = observed(np.random.default_rng(4).random((50, 1)))
    wide, narrow = (bounds(interval(MEAN, values, Resampling(confidence=c))) for c in (0.95, 0.5))
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


def test_a_figure_that_most_resamples_miss_has_no_interval() -> None:
    """One prompt of 50 has pairs: a resample misses it with (49/50)^50 = 36 %, more than the 20 % that are borne."""
    found = interval(SHARE, observed([(1, 1), *[(0, 0)] * 49]), Resampling())
    assert found == Estimate(1.0, None, None, 1)


def test_undefined_resamples_are_left_out_where_they_are_few() -> None:
    """Two right and two wrong among 50: (46/50)^50 = 1.5 % of the resamples are undefined."""
    found = interval(SHARE, observed([(1, 1)] * 2 + [(0, 1)] * 2 + [(0, 0)] * 46), Resampling())
    assert (found.value, found.items) == (0.5, 4)
    assert bounds(found) == (0.0, 1.0)


def test_undefined_figures_are_none() -> None:
    assert interval(SHARE, observed([(0, 0)] * 3), Resampling()) == Estimate(None, None, None, 3)
    assert interval(MEAN, {}, Resampling()) == Estimate(None, None, None, 0)
    assert difference(SHARE, observed([(0, 0)] * 3), observed([(1, 1)] * 3), Resampling()).value is None


def test_only_items_that_weigh_in_are_counted() -> None:
    """A difference is as sure as the model with fewer items that say something: 2 against 3."""
    one, other = observed([(1, 1), (1, 1), (0, 0)]), observed([(0, 1), (1, 1), (1, 1)])
    assert difference(SHARE, one, other, Resampling()).items == 2


def test_entropy_is_resampled_by_prompt() -> None:
    """Half of the prompts say 1, half 5: one bit; a resample of 40 with k ones has the entropy of k / 40, at most 1."""
    found = interval(ENTROPY, observed([(0, 3, 0, 0, 0, 0), (0, 0, 0, 0, 0, 3)] * 20), Resampling())
    low, high = bounds(found)
    assert found.value == 1.0 and high == 1.0
    share = 0.5 - 2.24 * math.sqrt(0.25 / 40)  # |k / 40 - 0.5| is beyond 2.24 standard errors in 2.5 % of the draws
    assert low == pytest.approx(-share * math.log2(share) - (1 - share) * math.log2(1 - share), abs=0.03)


def test_the_same_resamples_are_not_measured_twice() -> None:
    """A gate asks for one difference by two rules, and for the candidate's own interval: two models, two measurements
    of 1,000 resamples."""
    measured: list[tuple[int, ...]] = []

    def statistic(rows: np.ndarray) -> np.ndarray:
        measured.append(rows.shape)
        return np.asarray(rows[..., 0].mean(-1))

    metric, how = replace(MEAN, statistic=statistic), Resampling()
    rng = np.random.default_rng(17)
    one, other = (observed(rng.normal(size=(25, 1))) for _ in range(2))
    first = difference(metric, one, other, how)
    assert difference(metric, one, other, how) == first
    assert interval(metric, one, how) == interval(MEAN, one, how)
    assert measured.count((1000, 25, 1)) == 2
