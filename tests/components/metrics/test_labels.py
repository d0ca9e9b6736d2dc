"""What a win rate is said to be comparable with."""

from __future__ import annotations

import pytest

from components.metrics.labels import LC_FORMS, OFFICIAL_TEMPLATE, alpaca_eval_label, lc_form

MEASURED = {"win_rate": 0.5, "lc_win_rate": 0.4}


@pytest.mark.parametrize(
    ("form", "official", "label"),
    [
        ("v1", 1, "form v1, AlpacaEval's template"),
        ("noreg", 1, "form noreg, AlpacaEval's template"),
        ("minimal", 1, "form minimal, AlpacaEval's template: not comparable with AlpacaEval's board"),
        ("v1", 0, "form v1, our own annotator's template: not comparable with AlpacaEval's board"),
        ("minimal", 0, "form minimal, our own annotator's template: not comparable with AlpacaEval's board"),
    ],
)
def test_the_label_says_form_and_template_and_what_cannot_be_compared(form: str, official: float, label: str) -> None:
    assert alpaca_eval_label(MEASURED | {LC_FORMS[form]: 1.0, OFFICIAL_TEMPLATE: official}) == label
    assert lc_form({LC_FORMS[form]: 1.0}) == form


def test_nothing_measured_has_no_label() -> None:
    assert alpaca_eval_label({"answer_length": 3.0}) == lc_form({}) == ""
