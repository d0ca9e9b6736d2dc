"""The summary of a run: its models with their figures and verdicts, the judge's health by round, its stages."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from components.core.journal import read_journal
from components.core.store import join, open_store
from components.run.drift import drift


def summarise(root: str, run: str) -> dict[str, Any]:
    """Write and return `<root>/runs/<run>/summary.json` from what the run's steps noted."""
    models = sorted(
        (_without(entry, "started") for entry in read_journal(root, run, "models")),
        key=lambda model: _order(model["name"]),
    )
    stages = [_without(entry, "started") for entry in read_journal(root, run, "stages")]
    seen = rounds(stages)
    summary = {
        "run": run,
        "models": models,
        "rounds": seen,
        "drift": drift(models, seen),
        "stopped_by": next((model["name"] for model in models if model["verdict"] == "stop"), None),
        "stages": stages,
    }
    open_store(join(root, "runs", run)).write("summary.json", json.dumps(summary, indent=1).encode())
    return summary


def rounds(stages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What was seen of each round, by the model that judged it: figures of its prompts, judgements and pairs."""
    found: dict[str, dict[str, Any]] = {}
    for stage in stages:
        name, _, kind = stage["name"].partition("/")
        if kind in ("prompts", "judging", "pairs"):
            one = found.setdefault(name, {"name": name, "metrics": {}})
            one["metrics"] |= stage["metrics"] | (
                {"pairs": stage["counts"]["kept"]["pairs"]} if kind == "pairs" else {}
            )
    return sorted(found.values(), key=lambda one: _order(one["name"]))


def _order(name: str) -> int:
    """The SFT baseline before M1, M2, ..."""
    return int(name.removeprefix("m")) if name.startswith("m") else 0


def _without(entry: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if key != name}
