"""The summary as tables, for the terminal and for the report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from components.core.page import Table
from components.metrics.labels import COMPARABLE, alpaca_eval_label, lc_form

MODEL_COLUMNS = ("model", "parsed", "accuracy", "win rate", "LC", "win/tie/loss", "length", "verdict", "version")
NEEDED = ("model", "verdict", "version")
MODEL_NOTE = (
    "parsed: judgements with a valid score. accuracy: pairs of human replies that the judge orders as people did, "
    "score ties left out. win rate, LC: against reference answers, and at equal length (AlpacaEval 2). win/tie/loss: "
    "against the model before, both orders agreeing (none: no verdict). length: mean characters. *: champion."
)
CONTAMINATION_NOTE = (
    "Prompts that no model is trained on, since they are the same as a text of the evaluation set or too close to it "
    "(ROUGE-L above prompts.novelty)."
)
DRIFT_NOTE = "Of the model as a judge and of its round. change: the last model's value less the first's."


def model_table(summary: Mapping[str, Any]) -> Table:
    """One row a model; a dash stands for what is undefined. A column that no model has is left out, and named below."""
    champion = [model["name"] for model in summary["models"] if model["promoted"]][-1:]  # the last to be promoted
    rows = []
    for model in summary["models"]:
        metrics = model["metrics"]
        shares = (metrics.get(name) for name in ("parse_rate", "pairwise_accuracy", "win_rate"))
        rows.append(
            (
                str(model["name"]).upper() + ("*" if model["name"] in champion else ""),
                *(format_figure(share, share=True) for share in shares),
                f"{format_figure(metrics.get('lc_win_rate'), share=True)} {lc_form(metrics)}".rstrip(),
                _head_to_head(metrics),
                "-" if "answer_length" not in metrics else f"{metrics['answer_length']:.0f}",
                model["verdict"] or "-",
                str(model["version"] or "not registered"),
            )
        )
    labels = sorted({label for model in summary["models"] if (label := alpaca_eval_label(model["metrics"]))})
    measured = [n for n, name in enumerate(MODEL_COLUMNS) if name in NEEDED or any(row[n] != "-" for row in rows)]
    missing = [name for n, name in enumerate(MODEL_COLUMNS) if n not in measured]
    notes = [MODEL_NOTE, *([f"Not measured: {', '.join(missing)}."] if missing else [])]
    notes += [*(f"AlpacaEval here: {label}." for label in labels), *([COMPARABLE] if labels else [])]
    columns, *rows = [tuple(row[n] for n in measured) for row in (MODEL_COLUMNS, *rows)]
    return Table("models", columns, rows, " ".join(notes))


def drift_table(summary: Mapping[str, Any]) -> Table | None:
    """One row a figure: every model's value, and the change; None where no figure is known."""
    if not summary["drift"]:
        return None
    models = [name.upper() for name in summary["drift"][0]["values"]]
    rows = []
    for entry in summary["drift"]:
        values = [format_figure(value, entry["share"]) for value in entry["values"].values()]
        rows.append((entry["figure"], *values, format_figure(entry["change"], entry["share"], sign="+")))
    return Table("drift", ("what drifts", *models, "change"), rows, DRIFT_NOTE)


def contamination_table(summary: Mapping[str, Any]) -> Table | None:
    """One row an evaluation set; None where nothing was compared."""
    entries = summary.get("contamination") or []
    if not entries:
        return None
    sources = list(entries[0]["dropped"])
    rows = [(entry["set"], str(entry["texts"]), *(str(entry["dropped"][one]) for one in sources)) for entry in entries]
    return Table("contamination", ("evaluation set", "texts", *sources), rows, CONTAMINATION_NOTE)


def verdict_lines(summary: Mapping[str, Any]) -> list[str]:
    """What the gate said of each model, in words."""
    return [
        f"{model['name'].upper()} {model['verdict']}: {'; '.join(model['reasons'])}"
        for model in summary["models"]
        if model["verdict"]
    ]


def _head_to_head(metrics: Mapping[str, float]) -> str:
    """Wins, ties and losses against the model before; "-" where it was not measured."""
    if "head_to_head" not in metrics:
        return "-"
    total = metrics["head_to_head"]
    unparsed = metrics["head_to_head_unparsed"]
    counts = "/".join(f"{metrics.get(f'{name}_share', 0.0) * total:.0f}" for name in ("win", "tie", "loss"))
    return counts + (f" ({unparsed:.0f} none)" if unparsed else "")


def format_figure(value: float | None, share: bool, sign: str = "") -> str:
    """A share in percent; another figure with two decimals, unless it is large or a whole number."""
    if value is None:
        return "-"
    if share:
        return f"{round(100 * value, 1) + 0.0:{sign}.1f} %"  # + 0.0: a rounded -0.04 is 0
    whole = abs(value) >= 100 or float(value).is_integer()
    return f"{value + 0.0:{sign}.{0 if whole else 2}f}"
