"""The summary of a run: its models with their metrics, its stages, a table to read."""

from __future__ import annotations

import html
import json
from typing import Any

from components.step import read_journal
from components.store import join, open_store

COLUMNS = ("model", "parse rate", "accuracy", "win/tie/loss", "length", "version")
CAPTION = (
    "parse rate: judgements with a valid score. accuracy: pairs of human replies that the judge orders as people did, "
    "score ties left out. win/tie/loss: answers against the previous model's, both orders. length: mean characters."
)


def summarise(root: str, run: str) -> dict[str, Any]:
    """Write and return `<root>/runs/<run>/summary.json` from what the run's steps noted."""
    models = sorted(
        (_without(entry, "started") for entry in read_journal(root, run, "models")),
        key=lambda model: _order(model["name"]),
    )
    stages = [_without(entry, "started") for entry in read_journal(root, run, "stages")]
    summary = {"run": run, "models": models, "stages": stages}
    open_store(join(root, "runs", run)).write("summary.json", json.dumps(summary, indent=1).encode())
    return summary


def _order(name: str) -> int:
    """The SFT baseline before M1, M2, ..."""
    return int(name.removeprefix("m")) if name.startswith("m") else 0


def table(summary: dict[str, Any]) -> list[tuple[str, ...]]:
    """One row a model, in the order of COLUMNS; a dash stands for what is undefined."""
    return [
        (
            str(model["name"]).upper(),
            _percent(model["metrics"].get("parse_rate")),
            _accuracy(model["metrics"]),
            _head_to_head(model["metrics"]),
            _number(model["metrics"].get("answer_length")),
            str(model["version"] or "not registered"),
        )
        for model in summary["models"]
    ]


def table_html(summary: dict[str, Any]) -> str:
    """The table for the KFP UI."""
    head = "".join(f"<th>{html.escape(column)}</th>" for column in COLUMNS)
    rows = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in table(summary)
    )
    caption = f"<caption>{html.escape(CAPTION)}</caption>"
    return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _accuracy(metrics: dict[str, float]) -> str:
    if "pairwise_accuracy" not in metrics:
        return "-"
    decided = metrics["pairwise_pairs"] - metrics["pairwise_ties"]
    return f"{_percent(metrics['pairwise_accuracy'])} of {decided:.0f}"


def _head_to_head(metrics: dict[str, float]) -> str:
    if "head_to_head" not in metrics:
        return "-"
    total = metrics["head_to_head"]
    unparsed = metrics["head_to_head_unparsed"]
    counts = "/".join(f"{metrics.get(f'{name}_rate', 0.0) * total:.0f}" for name in ("win", "tie", "loss"))
    return counts + (f" ({unparsed:.0f} unparsed)" if unparsed else "")


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"


def _without(entry: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if key != name}
