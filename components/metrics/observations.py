"""Observations: what a metric's value is made of, item by item. Stages keep them, the gate compares them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from components.core.records import Observation
from components.core.stage import read_records
from components.metrics.bootstrap import Estimate, Observed, Resampling, interval
from components.metrics.statistics import METRICS

Measured = Mapping[str, Observed]  # observed values by metric and item


def observations(measured: Measured) -> list[Observation]:
    """The records of a stage."""
    return [
        Observation(id=f"{metric}/{item}", metric=metric, item=item, values=list(values))
        for metric, observed in measured.items()
        for item, values in observed.items()
    ]


def read_measured(stages: Iterable[str]) -> dict[str, dict[str, tuple[float, ...]]]:
    """All that these stages observed of one model."""
    measured: dict[str, dict[str, tuple[float, ...]]] = {}
    for uri in stages:
        for one in read_records(uri, "observations", Observation):
            measured.setdefault(one.metric, {})[one.item] = tuple(one.values)
    return measured


def figures(measured: Measured, how: Resampling) -> dict[str, float]:
    """Every metric with its interval: `name`, `name_low`, `name_high`, `name_items`; what is undefined is absent."""
    return {
        name: value
        for metric, observed in measured.items()
        for name, value in _named(metric, interval(METRICS[metric], observed, how)).items()
    }


def _named(metric: str, estimate: Estimate) -> dict[str, float]:
    values = {
        metric: estimate.value,
        f"{metric}_low": estimate.low,
        f"{metric}_high": estimate.high,
        f"{metric}_items": float(estimate.items),
    }
    return {name: value for name, value in values.items() if value is not None}
