"""The summary as tables, for the terminal and for the KFP UI."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from components.core.page import Table

Rows = list[tuple[str, ...]]
MODEL_COLUMNS = ("model", "parsed", "accuracy", "win rate", "LC", "win/tie/loss", "length", "verdict", "version")
MODEL_CAPTION = (
    "parsed: judgements with a valid score. accuracy: pairs of human replies that the judge orders as people did, "
    "score ties left out. win rate, LC: against reference answers, and at equal length (AlpacaEval 2). win/tie/loss: "
    "against the model before, both orders agreeing (none: no verdict). length: mean characters. *: champion."
)
DRIFT_CAPTION = "Of the model as a judge and of its round. change: the last model's value less the first's."


def model_rows(summary: Mapping[str, Any]) -> Rows:
    """One row a model, in the order of MODEL_COLUMNS; a dash stands for what is undefined."""
    champion = [model["name"] for model in summary["models"] if model["promoted"]][-1:]  # the last to be promoted
    rows: Rows = []
    for model in summary["models"]:
        metrics = model["metrics"]
        shares = (metrics.get(name) for name in ("parse_rate", "pairwise_accuracy", "win_rate", "lc_win_rate"))
        rows.append(
            (
                str(model["name"]).upper() + ("*" if model["name"] in champion else ""),
                *(_shown(share, share=True) for share in shares),
                _head_to_head(metrics),
                "-" if "answer_length" not in metrics else f"{metrics['answer_length']:.0f}",
                model["verdict"] or "-",
                str(model["version"] or "not registered"),
            )
        )
    return rows


def drift_columns(summary: Mapping[str, Any]) -> tuple[str, ...]:
    """The figure, every model that has any, the change."""
    names = summary["drift"][0]["values"] if summary["drift"] else ()
    return ("what drifts", *(name.upper() for name in names), "change")


def drift_rows(summary: Mapping[str, Any]) -> Rows:
    """One row a figure, in the order of drift_columns."""
    return [
        (
            entry["figure"],
            *(_shown(value, entry["share"]) for value in entry["values"].values()),
            _shown(entry["change"], entry["share"], sign="+"),
        )
        for entry in summary["drift"]
    ]


def verdict_lines(summary: Mapping[str, Any]) -> list[str]:
    """What the gate said of each model, in words."""
    return [
        f"{model['name'].upper()} {model['verdict']}: {'; '.join(model['reasons'])}"
        for model in summary["models"]
        if model["verdict"]
    ]


def summary_page(summary: Mapping[str, Any]) -> list[Table | list[str]]:
    """The verdicts and both tables, for the KFP UI."""
    parts: list[Table | list[str]] = [verdict_lines(summary)]
    parts.append(Table("models", MODEL_COLUMNS, model_rows(summary), MODEL_CAPTION))
    if summary["drift"]:
        parts.append(Table("drift", drift_columns(summary), drift_rows(summary), DRIFT_CAPTION))
    return parts


def _head_to_head(metrics: Mapping[str, float]) -> str:
    if "head_to_head" not in metrics:
        return "-"
    total = metrics["head_to_head"]
    unparsed = metrics["head_to_head_unparsed"]
    counts = "/".join(f"{metrics.get(f'{name}_share', 0.0) * total:.0f}" for name in ("win", "tie", "loss"))
    return counts + (f" ({unparsed:.0f} none)" if unparsed else "")


def _shown(value: float | None, share: bool, sign: str = "") -> str:
    """A share in percent; another figure with two decimals, unless it is large or a whole number."""
    if value is None:
        return "-"
    if share:
        return f"{round(100 * value, 1) + 0.0:{sign}.1f} %"  # + 0.0: a rounded -0.04 is 0
    whole = abs(value) >= 100 or float(value).is_integer()
    return f"{value + 0.0:{sign}.{0 if whole else 2}f}"
