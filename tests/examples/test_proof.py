"""What the proof asks of its runs, on made-up outcomes, and how it shows them."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from components.metrics.bootstrap import Resampling
from components.metrics.observations import figures
from examples.world.conditions import CONDITIONS, METHOD, SHUFFLED, TOO_HARD
from examples.world.outcome import GREEDY, SAMPLED, MeasuredModel, Outcome, claims
from examples.world.proof import SHORT, Plan, report

QUESTIONS = 200


def model(name: str, right: int, verdict: str = "promote") -> MeasuredModel:
    """A model with the first `right` of 200 questions right, and a judge without fault."""
    answers = {f"{n:03}": (float(n < right),) for n in range(QUESTIONS)}
    observed = {SAMPLED: answers, GREEDY: answers, "parse_rate": {"p": (1.0, 1.0)}}
    metrics = figures(observed, Resampling(resamples=100)) | {"pairwise_accuracy": 1.0}
    return MeasuredModel(name, metrics, observed, pairs=None, verdict=verdict, reasons=["as told"])


def holding(outcome: Outcome) -> list[bool]:
    return [claim.holds for claim in claims(outcome)]


def test_the_method_must_gain_every_round_and_be_promoted() -> None:
    better = [model("m1", 100), model("m2", 120), model("m3", 150)]
    assert holding(Outcome(METHOD.name, 1, better)) == [True, True, True, True]


def test_a_round_without_gain_shows_though_the_last_model_is_better() -> None:
    """100, 90, 150: one round lost; the gain of 50 / 200 is proven all the same; one model was only held."""
    outcome = Outcome(METHOD.name, 1, [model("m1", 100), model("m2", 90, "hold"), model("m3", 150)])
    assert holding(outcome) == [False, True, True, False]
    assert "+0.250" in claims(outcome)[1].text


def test_a_gain_of_one_question_is_no_proof() -> None:
    """1 of 200 questions: a resample misses it with probability (199/200)^200 = 0.37, so the interval starts at 0."""
    assert holding(Outcome(METHOD.name, 1, [model("m1", 100), model("m2", 101)]))[1:3] == [False, False]


def test_random_scores_must_not_help_in_any_round() -> None:
    worse = [model("m1", 100), model("m2", 90, "hold"), model("m3", 80, "hold")]
    assert holding(Outcome(SHUFFLED.name, 1, worse)) == [True, True]
    lucky = [model("m1", 100), model("m2", 106, "hold")]  # +0.03; the interval starts near 0.01
    assert holding(Outcome(SHUFFLED.name, 1, lucky)) == [True, True]
    helped = [model("m1", 100), model("m2", 150), model("m3", 100, "hold")]
    assert holding(Outcome(SHUFFLED.name, 1, helped)) == [False, False]


@pytest.mark.parametrize(("stopped_by", "good"), [("m2", True), ("m3", False), (None, False)])
def test_too_hard_a_training_must_be_stopped_at_once(stopped_by: str | None, good: bool) -> None:
    outcome = Outcome(TOO_HARD.name, 1, [model("m1", 100), model("m2", 20, "stop")], stopped_by)
    assert holding(outcome) == [good]
    assert "as told" in claims(outcome)[0].text


def test_the_controls_use_the_first_seed() -> None:
    runs = [(condition.name, seed, rounds) for condition, seed, rounds in Plan().runs()]
    assert runs == [
        ("method", 1, 3),
        ("method", 2, 3),
        ("method", 3, 3),
        ("shuffled", 1, 3),
        ("too-hard", 1, 3),
    ]
    assert [(c.name, seed, rounds) for c, seed, rounds in SHORT.runs()] == [
        ("method", 1, 2),
        ("shuffled", 1, 1),
        ("too-hard", 1, 1),
    ]


def test_conditions_differ_after_sft_alone(tmp_path: Path) -> None:
    """So that SFT, evaluation and the first round's judgements are made once; the registered names differ."""
    recipes = [condition.recipe(tmp_path, 1, 3) for condition in CONDITIONS]
    assert len({recipe.name for recipe in recipes}) == 3
    for section in ("model", "data", "eft", "sft", "prompts", "sampling", "judging", "evaluation", "serving"):
        assert len({str(getattr(recipe, section).to_dict()) for recipe in recipes}) == 1
    assert [recipe.pairs.shuffle_scores for recipe in recipes] == [False, True, False]
    assert [(recipe.dpo.max_steps, recipe.dpo.learning_rate) for recipe in recipes] == [
        (30, 1e-5),
        (30, 1e-5),
        (100, 1e-3),
    ]


def test_the_report_shows_every_model_and_what_failed(tmp_path: Path) -> None:
    console = Console(record=True, width=150, file=(tmp_path / "screen").open("w"))
    outcomes = [
        Outcome(METHOD.name, 1, [model("m1", 100), model("m2", 150)]),
        Outcome(TOO_HARD.name, 1, [model("m1", 100), model("m2", 20, "stop")], "m2"),
        Outcome(SHUFFLED.name, 1, [model("m1", 100), model("m2", 150)]),
    ]
    assert not report(outcomes, tmp_path, console)
    assert report(outcomes[:2], tmp_path, console)
    text = console.export_text()
    assert all(figure in text for figure in ("0.500", "0.750", "0.100", "holds", "FAILED"))
    assert (tmp_path / "proof.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "proof.json").is_file()
