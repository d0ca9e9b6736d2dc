"""Confidence intervals by resampling items (percentile bootstrap, Efron and Tibshirani 1993, chapter 13).

Items are prompts or instructions: everything that belongs to one prompt is drawn together, so replies to one prompt are
not taken for independent. Two models are compared on the same resamples of the items that both were measured on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from components.metrics.statistics import Metric, Rows

Observed = Mapping[str, tuple[float, ...]]  # a metric's values by item
OnItems = Callable[[NDArray[np.intp]], float]  # a figure of the items with these indices
# A statistic that is undefined on more resamples than this share is too frail for an interval.
MOST_UNDEFINED = 0.2


@dataclass(frozen=True)
class Resampling:
    """How intervals are made: their confidence (two-sided), how many resamples, and the seed of the draws."""

    confidence: float = 0.95
    resamples: int = 1000
    seed: int = 0


class Estimate(NamedTuple):
    """A figure with its confidence interval, and the number of items behind it; None where it is undefined."""

    value: float | None
    low: float | None
    high: float | None
    items: int


def interval(metric: Metric, observed: Observed, how: Resampling) -> Estimate:
    """The metric of one model."""
    rows = _rows(observed, sorted(observed))
    return _estimate(len(rows), how, lambda drawn: metric.statistic(rows[drawn]))


def difference(metric: Metric, one: Observed, other: Observed, how: Resampling) -> Estimate:
    """The metric of `one` less that of `other`, on the items of both."""
    first, second = _common(one, other)
    return _estimate(len(first), how, lambda drawn: metric.statistic(first[drawn]) - metric.statistic(second[drawn]))


def growth(metric: Metric, one: Observed, other: Observed, how: Resampling) -> Estimate:
    """The metric of `one` over that of `other`, on the items of both."""
    first, second = _common(one, other)

    def statistic(drawn: NDArray[np.intp]) -> float:
        base = metric.statistic(second[drawn])
        return metric.statistic(first[drawn]) / base if base else float("nan")

    return _estimate(len(first), how, statistic)


def _common(one: Observed, other: Observed) -> tuple[Rows, Rows]:
    items = sorted(one.keys() & other.keys())
    return _rows(one, items), _rows(other, items)


def _rows(observed: Observed, items: list[str]) -> Rows:
    return np.array([observed[item] for item in items], dtype=np.float64).reshape(len(items), -1 if items else 0)


def _estimate(items: int, how: Resampling, statistic: OnItems) -> Estimate:
    if not items:
        return Estimate(None, None, None, 0)
    value = statistic(np.arange(items))
    if np.isnan(value):
        return Estimate(None, None, None, items)
    draws = np.random.default_rng(how.seed)
    resampled = np.array([statistic(draws.integers(items, size=items)) for _ in range(how.resamples)])
    defined = resampled[~np.isnan(resampled)]
    if len(defined) < (1 - MOST_UNDEFINED) * how.resamples:
        return Estimate(value, None, None, items)
    tail = (1 - how.confidence) / 2
    low, high = np.quantile(defined, [tail, 1 - tail])
    return Estimate(float(value), float(low), float(high), items)
