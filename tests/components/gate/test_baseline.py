"""The first champion is no worse than what its run started from: the better of M0 and the SFT baseline."""

from __future__ import annotations

import pytest

from components.core.records import Parent
from components.gate.decide import choose_baseline, decide
from components.gate.gate import GatedModel
from components.gate.settings import GatePolicy
from components.metrics.bootstrap import Observed
from components.metrics.observations import Measured

GAIN = GatePolicy(improve={"win_rate": 0.0})


def answering(rate: float, count: int = 40) -> Measured:
    """Win rates that are all the same have an interval without width."""
    observed: Observed = {f"{n:03}": (rate,) for n in range(count)}
    return {"win_rate": observed}


@pytest.mark.parametrize(
    ("m1", "decision"),
    [(0.5, "promote"), (0.45, "promote"), (0.375, "hold"), (0.25, "hold")],
)
def test_a_first_model_that_is_worse_than_the_better_baseline_is_no_champion(m1: float, decision: str) -> None:
    """M0 wins 0.40, SFT 0.45: M1 at 0.375 is proven worse than SFT, at 0.45 it is not. It is held, not stopped."""
    baselines = {"m0": answering(0.40), "sft": answering(0.45)}
    assert decide(answering(m1), None, GAIN, {}, baselines).decision == decision


def test_the_reason_names_the_baseline_and_what_was_lost() -> None:
    verdict = decide(answering(0.25), None, GAIN, {}, {"m0": answering(0.5), "sft": answering(0.25)})
    assert verdict.reasons == [
        "win_rate changed by -0.250 against what the run started from (-0.250 to -0.250, 40 items): "
        "a champion must not be worse than M0"
    ]
    assert [(check.rule, check.outcome) for check in verdict.checks if check.rule == "baseline"] == [
        ("baseline", "fail")
    ]


def test_too_few_items_hold_nothing_back() -> None:
    verdict = decide(answering(0.25, 29), None, GAIN, {}, {"sft": answering(0.5, 29)})
    assert verdict.decision == "promote"
    assert "rules had too little to go by" in verdict.reasons[0]


def test_a_champion_is_the_measure_where_there_is_one() -> None:
    """It was no worse than its own run's baselines; a gain over it is what must be proven."""
    baselines = {"sft": answering(0.75)}
    verdict = decide(answering(0.5), answering(0.25), GAIN, {}, baselines)
    assert verdict.decision == "promote"
    assert not any(check.rule == "baseline" for check in verdict.checks)


@pytest.mark.parametrize(("policy", "chosen"), [("best", "m0"), ("m0", "m0"), ("sft", "sft"), ("none", "")])
def test_which_baseline_counts_is_a_setting(policy: str, chosen: str) -> None:
    baselines = {"m0": answering(0.75), "sft": answering(0.25)}
    wanted = GatePolicy(improve={"win_rate": 0.0}, baseline=policy)  # type: ignore[arg-type]
    assert choose_baseline(baselines, wanted) == chosen


@pytest.mark.parametrize("order", [("m0", "sft"), ("sft", "m0")])
def test_of_equals_it_is_the_sft_baseline_in_any_order(order: tuple[str, str]) -> None:
    assert choose_baseline({name: answering(0.5) for name in order}, GAIN) == "sft"


def test_without_a_figure_of_both_it_is_the_sft_baseline() -> None:
    assert choose_baseline({"m0": {}, "sft": answering(0.25)}, GAIN) == "sft"
    assert choose_baseline({}, GAIN) == ""


def test_a_candidate_is_found_again_in_its_stage_s_parents(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eleven stages: the tenth comes after the ninth, not after the first."""
    monkeypatch.setattr("components.gate.gate.parent", lambda uri: Parent(uri=uri, digest=uri))
    model = GatedModel("m", [f"s{n}" for n in range(11)], ["p"], {"m0": ["a", "b"], "sft": ["c"]})
    assert GatedModel.from_parents(model.parents()) == model
