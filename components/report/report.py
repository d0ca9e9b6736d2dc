"""The summary of a run: its models with their figures and verdicts, the judge's health by round, its stages."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from typing import Any

from components.step import read_journal
from components.store import join, open_store

Rows = list[tuple[str, ...]]
MODEL_COLUMNS = ("model", "parsed", "accuracy", "win rate", "LC", "win/tie/loss", "length", "verdict", "version")
MODEL_CAPTION = (
    "parsed: judgements with a valid score. accuracy: pairs of human replies that the judge orders as people did, "
    "score ties left out. win rate, LC: against reference answers, and at equal length (AlpacaEval 2). win/tie/loss: "
    "against the model before, both orders agreeing (none: no verdict). length: mean characters. *: champion."
)
HEALTH_COLUMNS = (
    "round",
    "parsed",
    "entropy",
    "ties",
    "spread",
    "score~length",
    "novelty",
    "pairs",
    "chosen",
    "rejected",
)
HEALTH_CAPTION = (
    "The judge on its own candidates. entropy: of the scores, in bits. ties: prompts whose candidates all have one "
    "score. spread: standard deviation among the K judgements of one text. ~length: rank correlation with it. "
    "novelty: of the prompts, 1 - ROUGE-L to the closest. chosen, rejected: mean characters."
)


def summarise(root: str, run: str) -> dict[str, Any]:
    """Write and return `<root>/runs/<run>/summary.json` from what the run's steps noted."""
    models = sorted(
        (_without(entry, "started") for entry in read_journal(root, run, "models")),
        key=lambda model: _order(model["name"]),
    )
    stages = [_without(entry, "started") for entry in read_journal(root, run, "stages")]
    stopped = next((model["name"] for model in models if model["verdict"] == "stop"), None)
    summary = {"run": run, "models": models, "rounds": rounds(stages), "stopped_by": stopped, "stages": stages}
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


def model_rows(summary: Mapping[str, Any]) -> Rows:
    """One row a model, in the order of MODEL_COLUMNS; a dash stands for what is undefined."""
    return [_model_row(model, model["metrics"]) for model in summary["models"]]


def _model_row(model: Mapping[str, Any], metrics: Mapping[str, float]) -> tuple[str, ...]:
    return (
        str(model["name"]).upper() + ("*" if model["promoted"] else ""),
        _percent(metrics.get("parse_rate")),
        _percent(metrics.get("pairwise_accuracy")),
        _percent(metrics.get("win_rate")),
        _percent(metrics.get("lc_win_rate")),
        _head_to_head(metrics),
        _number(metrics.get("answer_length"), 0),
        model["verdict"] or "-",
        str(model["version"] or "not registered"),
    )


def health_rows(summary: Mapping[str, Any]) -> Rows:
    """One row a round, in the order of HEALTH_COLUMNS."""
    return [_health_row(one["name"], one["metrics"]) for one in summary["rounds"]]


def _health_row(name: str, metrics: Mapping[str, float]) -> tuple[str, ...]:
    variance = metrics.get("round_score_variance")
    return (
        name.upper(),
        _percent(metrics.get("round_parse_rate")),
        _number(metrics.get("round_score_entropy"), 2),
        _percent(metrics.get("round_score_tie_rate")),
        _number(None if variance is None else variance**0.5, 2),
        _number(metrics.get("round_score_length_correlation"), 2),
        _number(metrics.get("prompt_novelty"), 2),
        _number(metrics.get("pairs"), 0),
        _number(metrics.get("chosen_length"), 0),
        _number(metrics.get("rejected_length"), 0),
    )


def verdict_lines(summary: Mapping[str, Any]) -> list[str]:
    """What the gate said of each model, in words."""
    return [
        f"{model['name'].upper()} {model['verdict']}: {'; '.join(model['reasons'])}"
        for model in summary["models"]
        if model["verdict"]
    ]


def table_html(summary: Mapping[str, Any]) -> str:
    """Both tables and the verdicts, for the KFP UI."""
    verdicts = "".join(f"<li>{html.escape(line)}</li>" for line in verdict_lines(summary))
    models = _html(MODEL_COLUMNS, model_rows(summary), MODEL_CAPTION)
    health = _html(HEALTH_COLUMNS, health_rows(summary), HEALTH_CAPTION)
    return f"{models}<ul>{verdicts}</ul>{health}"


def _html(columns: Sequence[str], rows: Rows, caption: str) -> str:
    head = "".join(f"<th>{html.escape(column)}</th>" for column in columns)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return (
        f"<table><caption>{html.escape(caption)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    )


def _head_to_head(metrics: Mapping[str, float]) -> str:
    if "head_to_head" not in metrics:
        return "-"
    total = metrics["head_to_head"]
    unparsed = metrics["head_to_head_unparsed"]
    counts = "/".join(f"{metrics.get(f'{name}_share', 0.0) * total:.0f}" for name in ("win", "tie", "loss"))
    return counts + (f" ({unparsed:.0f} none)" if unparsed else "")


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _without(entry: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if key != name}
