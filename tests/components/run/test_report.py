"""What a reader of the summary sees of a run that goes wrong."""

from __future__ import annotations

from typing import Any

import pytest

from components.run.report import drift
from components.run.tables import drift_table, format_figure, model_table


def model(name: str, **metrics: float) -> dict[str, Any]:
    return {"name": name, "metrics": metrics, "promoted": False, "verdict": None, "version": None, "reasons": []}


def entry(entries: list[dict[str, Any]], figure: str) -> dict[str, Any]:
    return next(one for one in entries if one["figure"] == figure)


def test_the_change_is_the_last_models_value_less_the_first_ones() -> None:
    """Parse rate .9, .8, .5: -0.4, whatever the SFT baseline had."""
    models = [model("sft", parse_rate=0.1), *(model(f"m{n}", parse_rate=r) for n, r in ((1, 0.9), (2, 0.8), (3, 0.5)))]
    found = entry(drift(models, []), "judgements parsed (human replies)")
    assert found["values"] == {"m1": 0.9, "m2": 0.8, "m3": 0.5}
    assert found["change"] == pytest.approx(-0.4)


def test_what_length_wins_is_the_gap_between_the_two_win_rates() -> None:
    """.50 - .48 = .02 for M1, .70 - .45 = .25 for M2: it grew by .23."""
    models = [model("m1", win_rate=0.5, lc_win_rate=0.48), model("m2", win_rate=0.7, lc_win_rate=0.45)]
    found = entry(drift(models, []), "win rate less LC win rate")
    assert found["values"] == {"m1": pytest.approx(0.02), "m2": pytest.approx(0.25)}
    assert found["change"] == pytest.approx(0.23)


def test_figures_of_a_round_stand_at_the_model_that_judged_it() -> None:
    """The last model has no round: a dash, and the change is that of the rounds. Spread: sqrt(0.25) = 0.5."""
    rounds = [
        {"name": f"m{n}", "metrics": {"pairs": pairs, "round_score_variance": 0.25}} for n, pairs in ((1, 9), (2, 4))
    ]
    found = drift([model("m1"), model("m2"), model("m3")], rounds)
    assert entry(found, "pairs") == {
        "figure": "pairs",
        "share": False,
        "values": {"m1": 9, "m2": 4, "m3": None},
        "change": -5,
    }
    assert entry(found, "spread of K judgements of one text")["values"]["m1"] == 0.5


def test_a_figure_of_one_model_has_no_change_and_an_unknown_figure_no_entry() -> None:
    found = drift([model("m1", answer_length=120.0), model("m2")], [])
    assert [one["figure"] for one in found] == ["answers, mean characters"]
    assert found[0]["change"] is None


def test_tables_show_a_dash_for_what_is_undefined_and_never_a_zero() -> None:
    summary = {"models": [model("m1", answer_length=120.0), model("m2")], "drift": []}
    summary["drift"] = drift(summary["models"], [])
    table = drift_table(summary)
    assert table is not None
    assert table.columns == ("what drifts", "M1", "M2", "change")
    assert table.rows == [("answers, mean characters", "120", "-", "-")]
    models = model_table(summary)
    assert models.columns == ("model", "length", "verdict", "version")
    assert models.rows[1] == ("M2", "-", "-", "not registered")
    assert "Not measured: parsed, accuracy, win rate, LC, win/tie/loss." in models.note


def test_the_table_says_what_a_win_rate_can_be_compared_with() -> None:
    """The form beside each figure; in the note why it is not the board's. Without a win rate nothing is said."""
    measured = {"win_rate": 0.5, "lc_win_rate": 0.48, "lc_form_minimal": 1.0, "official_template": 0.0}
    table = model_table({"models": [model("m1", **measured), model("m2")], "drift": []})
    assert table.rows[0][1:3] == ("50.0 %", "48.0 % minimal")
    assert "form minimal, our own annotator's template: not comparable with AlpacaEval's board" in table.note
    board = measured | {"lc_form_minimal": 0.0, "lc_form_v1": 1.0, "official_template": 1.0}
    table = model_table({"models": [model("m1", **board)], "drift": []})
    assert table.rows[0][2] == "48.0 % v1"
    assert "not comparable" not in table.note
    assert "AlpacaEval here" not in model_table({"models": [model("m2")], "drift": []}).note


@pytest.mark.parametrize(
    ("value", "share", "sign", "shown"),
    [
        (-0.0001, True, "+", "+0.0 %"),
        (0.123, True, "", "12.3 %"),
        (8.0, False, "", "8"),
        (-5.0, False, "+", "-5"),
        (152.6, False, "", "153"),
        (2.267, False, "", "2.27"),
        (None, True, "", "-"),
    ],
)
def test_numbers_are_shown_as_people_write_them(value: float | None, share: bool, sign: str, shown: str) -> None:
    assert format_figure(value, share, sign) == shown


def test_the_last_promoted_model_is_the_champion() -> None:
    models = [model(name) | {"promoted": name != "m3"} for name in ("m1", "m2", "m3")]
    assert [row[0] for row in model_table({"models": models}).rows] == ["M1", "M2*", "M3"]
