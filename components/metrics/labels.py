"""What a win rate may be compared with: marks among a model's metrics, in words."""

from __future__ import annotations

from collections.abc import Mapping

# Marks, 1 where they hold: the form of AlpacaEval's regression, and whether the annotator was asked in its words.
LC_FORMS = {form: f"lc_form_{form}" for form in ("v1", "noreg", "minimal")}
OFFICIAL_TEMPLATE = "official_template"
COMPARABLE = (
    "AlpacaEval's board is form v1 with AlpacaEval's template, its 805 instructions and GPT-4 Turbo (1106) as the "
    "annotator and the reference; without instructions.difficulty (minimal) the same answers were up to 27 points away."
)


def lc_form(metrics: Mapping[str, float]) -> str:
    """v1, noreg or minimal; "" where no length-controlled win rate was measured."""
    return next((form for form, mark in LC_FORMS.items() if metrics.get(mark)), "")


def alpaca_eval_label(metrics: Mapping[str, float]) -> str:
    """The form of the figures and whose template they rest on, and whether they can be compared with the board at all.

    "" where nothing was measured against reference outputs.
    """
    if "win_rate" not in metrics:
        return ""
    form, official = lc_form(metrics), bool(metrics.get(OFFICIAL_TEMPLATE))
    told = ["AlpacaEval's template" if official else "our own annotator's template"]
    told = ([f"form {form}"] if form else []) + told
    return ", ".join(told) + (": not comparable with AlpacaEval's board" if form == "minimal" or not official else "")
