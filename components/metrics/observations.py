"""Observations: what a metric's value is made of, item by item. Stages keep them, the gate compares them.

An unknown value is nan where it is computed with and null in the records.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, MutableMapping

from components.core.hashing import content_hash
from components.core.records import Manifest, Observation
from components.core.stage import read_manifest, read_records
from components.metrics.bootstrap import Observed, Resampling, interval
from components.metrics.statistics import BENCHMARK, METRICS

Measured = Mapping[str, Observed]  # observed values by metric and item
Values = MutableMapping[str, tuple[float, ...]]  # those of one metric by item, or of one item by metric


def observations(measured: Measured) -> Iterator[Observation]:
    """As the records of a stage."""
    for metric, observed in measured.items():
        for item, values in observed.items():
            known = [None if math.isnan(value) else value for value in values]
            yield Observation(id=f"{metric}/{item}", metric=metric, item=item, values=known)


def read_measured(stages: Iterable[str]) -> dict[str, Values]:
    """All that these stages (URIs) observed of one model, by metric and item."""
    measured: dict[str, Values] = {}
    for uri in stages:
        measured |= published(read_manifest(uri))
        for observation in read_records(uri, "observations", Observation):
            values = tuple(math.nan if value is None else value for value in observation.values)
            measured.setdefault(observation.metric, {})[observation.item] = values
    return measured


def published(manifest: Manifest) -> dict[str, Values]:
    """The lm-eval harness's figures in a stage's metrics: one item each (figure, standard error or nan, questions).

    The item is named by how they were measured, so that other demonstrations or other questions are not compared.
    """
    metrics, found = manifest.metrics, dict[str, Values]()
    how = {name: value for name, value in manifest.settings.items() if name not in ("tasks", "include")}
    for name in [name for name in metrics if name.startswith(BENCHMARK) and f"{name}_items" in metrics]:
        # <metric>_stderr, or <metric>_stderr_<filter> of <metric>_<filter>
        places = [place for place, sign in enumerate(name) if sign == "_"] + [len(name)]
        errors = [metrics.get(f"{name[:place]}_stderr{name[place:]}") for place in places]
        error = next((error for error in errors if error is not None), math.nan)
        questions = metrics[f"{name}_items"]
        found[name] = {content_hash([how, questions])[:12]: (metrics[name], error, questions)}
    return found


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
