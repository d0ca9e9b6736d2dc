"""Observations: what a metric's value is made of, item by item. Stages keep them, the gate compares them.

An unknown value is nan where it is computed with and null in the records.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from components.core.records import Observation
from components.core.stage import read_records
from components.metrics.bootstrap import Observed, Resampling, interval
from components.metrics.statistics import METRICS

Measured = Mapping[str, Observed]  # observed values by metric and item
Values = dict[str, tuple[float, ...]]  # those of one metric by item, or of one item by metric


def observations(measured: Measured) -> list[Observation]:
    """As the records of a stage."""
    return [
        Observation(id=f"{metric}/{item}", metric=metric, item=item, values=[_known(value) for value in values])
        for metric, observed in measured.items()
        for item, values in observed.items()
    ]


def read_measured(stages: Iterable[str]) -> dict[str, Values]:
    """All that these stages (URIs) observed of one model, by metric and item."""
    measured: dict[str, Values] = {}
    for uri in stages:
        for observation in read_records(uri, "observations", Observation):
            values = tuple(math.nan if value is None else value for value in observation.values)
            measured.setdefault(observation.metric, {})[observation.item] = values
    return measured


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def figures(measured: Measured, how: Resampling) -> dict[str, float]:
    """Every metric with its interval: `name`, `name_low`, `name_high`, `name_items`; what is undefined is absent."""
    named: dict[str, float | None] = {}
    for metric, observed in measured.items():
        estimate = interval(METRICS[metric], observed, how)
        named |= {
            metric: estimate.value,
            f"{metric}_low": estimate.low,
            f"{metric}_high": estimate.high,
            f"{metric}_items": float(estimate.items),
        }
    return {name: value for name, value in named.items() if value is not None}
