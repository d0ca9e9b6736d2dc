"""The summary of a run: its models with their figures and verdicts, the judge's health by round, its stages."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from components.core.journal import read_journal
from components.core.store import join, open_store
from components.run.drift import drift


def summarise(root: str, run: str) -> dict[str, Any]:
    """Write and return `<root>/runs/<run>/summary.json` from the run's journal."""
    models, stages = (
        [{key: value for key, value in entry.items() if key != "started"} for entry in read_journal(root, run, kind)]
        for kind in ("models", "stages")
    )
    models.sort(key=lambda model: _order(model["name"]))
    judged = rounds(stages)
    summary = {
        "run": run,
        "models": models,
        "rounds": judged,
        "drift": drift(models, judged),
        "stopped_by": next((model["name"] for model in models if model["verdict"] == "stop"), None),
        "stages": stages,
    }
    open_store(join(root, "runs", run)).write("summary.json", json.dumps(summary, indent=1).encode())
    return summary


def rounds(stages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The figures of each round's prompts, judgements and pairs, by the model that judged it."""
    metrics: dict[str, dict[str, float]] = {}
    for stage in stages:
        name, _, kind = stage["name"].partition("/")
        if kind in ("prompts", "judging", "pairs"):
            metrics.setdefault(name, {}).update(stage["metrics"])
        if kind == "pairs":
            metrics[name]["pairs"] = stage["counts"]["kept"]["pairs"]
    return [{"name": name, "metrics": metrics[name]} for name in sorted(metrics, key=_order)]


def _order(name: str) -> int:
    """The SFT baseline before M1, M2, ..."""
    return int(name.removeprefix("m")) if name.startswith("m") else 0
