"""Metrics as MLflow shows them: in groups by what stands before a slash, `win_rate/value`, `win_rate/low`, ...

The store's manifests keep `win_rate`, `win_rate_low`, ...; so do MLflow runs of earlier versions, which are read, too.
"""

from __future__ import annotations

from collections.abc import Mapping

PARTS = ("low", "high", "items")


def grouped(metrics: Mapping[str, float], group: str = "") -> dict[str, float]:
    """Of a manifest's metrics the names in MLflow, below `group`: a figure's value, interval and items stand together;
    what has none of these keeps its name."""
    names = {name: name for name in metrics}
    for name in metrics:
        parts = {f"{name}_{part}": f"{name}/{part}" for part in PARTS if f"{name}_{part}" in metrics}
        names |= {name: f"{name}/value", **parts} if parts else {}
    return {f"{group}{names[name]}": value for name, value in metrics.items()}


def flat(metrics: Mapping[str, float]) -> dict[str, float]:
    """Of an MLflow run's metrics, whichever version logged them, the names that a manifest has."""
    found = {}
    for name, value in metrics.items():
        figure, slash, part = name.rpartition("/")
        found[figure if slash and part == "value" else f"{figure}_{part}" if slash and part in PARTS else name] = value
    return found
