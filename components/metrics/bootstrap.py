"""Confidence intervals by resampling items (percentile bootstrap, Efron and Tibshirani 1993, chapter 13).

Items are prompts or instructions: everything that belongs to one prompt is drawn together, so replies to one prompt are
not taken for independent. Two models are compared on the same resamples of the items that both were measured on. The
draws are those of scipy.stats.bootstrap with the same seed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from components.metrics.statistics import Metric, Rows, Statistic, divided
from components.metrics.wilson import wilson

Observed = Mapping[str, tuple[float, ...]]  # a metric's values by item
Floats = NDArray[np.float64]
# A statistic that is undefined on more resamples than this share is too frail for an interval.
MOST_UNDEFINED = 0.2
DRAWN_AT_ONCE = 100_000  # items: some megabytes


@dataclass(frozen=True)
class Resampling:
    """How intervals are made: their confidence (two-sided), how many resamples, and the seed of the draws."""

    confidence: float = 0.95
    resamples: int = 1000
    seed: int = 0


class Estimate(NamedTuple):
    """A figure with its confidence interval, and how many items weigh in; None where it is undefined."""

    value: float | None
    low: float | None
    high: float | None
    items: int


def interval(metric: Metric, observed: Observed, how: Resampling) -> Estimate:
    """The metric of one model."""
    if metric.published:
        return _published([observed], how)
    rows = _rows(observed, sorted(observed))
    if metric.labelled:
        return Estimate(*wilson(rows.reshape(-1, 2), how.confidence))
    return _estimate(
        lambda: metric.statistic(rows), lambda: resampled(metric, rows, how), len(rows), metric.weighing(rows), how
    )


def figure(metric: Metric, observed: Observed) -> float | None:
    """The metric of one model without its interval, which takes a thousand times as long; None where undefined."""
    if not observed or metric.published or metric.labelled:
        return interval(metric, observed, Resampling()).value
    value = float(metric.statistic(_rows(observed, sorted(observed))))
    return None if math.isnan(value) else value


def difference(metric: Metric, one: Observed, other: Observed, how: Resampling) -> Estimate:
    """The metric of `one` less that of `other`, on the items of both.

    Of shares that rest on labels the items are drawn anew for each model: see separate_difference.
    """
    if metric.published:
        return _published([one, other], how)
    if metric.labelled:
        return separate_difference(metric, one, other, how)
    return _compare(metric, one, other, how, lambda first, second: first - second)


def separate_difference(metric: Metric, one: Observed, other: Observed, how: Resampling) -> Estimate:
    """The metric of `one` less that of `other`, measured on other items each: both are resampled by themselves.

    Shares that rest on labels have Newcombe's interval, from the two of Wilson's (Newcombe 1998, method 10).
    """
    first, second = interval(metric, one, how), interval(metric, other, how)
    if metric.published:
        return _published([one, other], how)
    if first.value is None or second.value is None:
        return Estimate(None, None, None, min(first.items, second.items))
    value, items = first.value - second.value, min(first.items, second.items)
    if None in (first.low, first.high, second.low, second.high):
        return Estimate(value, None, None, items)
    if metric.labelled:
        low = math.hypot(first.value - float(first.low or 0), float(second.high or 0) - second.value)
        high = math.hypot(float(first.high or 0) - first.value, second.value - float(second.low or 0))
        return Estimate(value, value - low, value + high, items)
    ours = resampled(metric, _rows(one, sorted(one)), how)
    theirs = resampled(metric, _rows(other, sorted(other)), replace(how, seed=how.seed + 1))
    return _between(value, ours - theirs, items, how)


def growth(metric: Metric, one: Observed, other: Observed, how: Resampling) -> Estimate:
    """The metric of `one` over that of `other`, on the items of both; undefined where the latter is 0."""
    return _compare(metric, one, other, how, divided)


def _published(models: list[Observed], how: Resampling) -> Estimate:
    """A figure with its standard error, or the difference of two: the errors add up as if independent.

    On the same questions they are not, and the interval is too wide rather than too narrow. One without a standard
    error has no interval; models that were measured in different ways have no item in common.
    """
    items = set.intersection(*(set(observed) for observed in models))
    if not items:
        return Estimate(None, None, None, 0)
    figures = [observed[min(items)] for observed in models]
    value = figures[0][0] - sum(other[0] for other in figures[1:])
    error = math.hypot(*(figure[1] for figure in figures))
    reach = NormalDist().inv_cdf((1 + how.confidence) / 2) * error
    known = not math.isnan(error)
    questions = int(min(figure[2] for figure in figures))
    return Estimate(value, value - reach if known else None, value + reach if known else None, questions)


def _compare(
    metric: Metric, one: Observed, other: Observed, how: Resampling, of: Callable[[Floats, Floats], Floats]
) -> Estimate:
    items = sorted(one.keys() & other.keys())
    first, second = _rows(one, items), _rows(other, items)
    return _estimate(
        lambda: of(metric.statistic(first), metric.statistic(second)),
        lambda: of(resampled(metric, first, how), resampled(metric, second, how)),  # the same draws
        len(items),
        min(metric.weighing(first), metric.weighing(second)),
        how,
    )


def _rows(observed: Observed, items: list[str]) -> Rows:
    if not items:
        return np.empty((0, 0))
    row = np.dtype((np.float64, (len(observed[items[0]]),)))
    return np.fromiter(map(observed.__getitem__, items), row, len(items))


def _estimate(
    of_all: Callable[[], Floats], resamples: Callable[[], Floats], items: int, weighing: int, how: Resampling
) -> Estimate:
    if not items:
        return Estimate(None, None, None, 0)
    value = float(of_all())
    if math.isnan(value):
        return Estimate(None, None, None, items)
    return _between(value, resamples(), weighing, how)


def resampled(metric: Metric, rows: Rows, how: Resampling) -> Floats:
    """The figure of each resample [resamples] of the rows [items, values]: the same draws for any rows as many.

    A gate holds one model against several others by several rules: what was computed last is kept.
    """
    return _resampled(metric.resampled or metric.statistic, rows.tobytes(), rows.shape, how.resamples, how.seed)


@lru_cache(maxsize=32)
def _resampled(statistic: Statistic, values: bytes, shape: tuple[int, ...], resamples: int, seed: int) -> Floats:
    rows = np.frombuffer(values).reshape(shape)
    draws, most = np.random.default_rng(seed), max(1, DRAWN_AT_ONCE // len(rows))
    batches = [min(most, resamples - start) for start in range(0, resamples, most)]
    return np.concatenate([statistic(rows[draws.integers(len(rows), size=(batch, len(rows)))]) for batch in batches])


def _between(value: float, resampled: Floats, weighing: int, how: Resampling) -> Estimate:
    """The value with the interval that its resamples span; without one where too many of them are undefined."""
    defined = resampled[~np.isnan(resampled)]
    if len(defined) < (1 - MOST_UNDEFINED) * how.resamples:
        return Estimate(value, None, None, weighing)
    tail = (1 - how.confidence) / 2
    low, high = np.quantile(defined, [tail, 1 - tail])
    return Estimate(value, float(low), float(high), weighing)
