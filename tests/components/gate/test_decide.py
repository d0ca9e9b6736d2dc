"""The gate's rules, one by one, and the models that it is there to stop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from components.core.records import Check
from components.gate.decide import Verdict, decide
from components.gate.settings import GatePolicy
from components.metrics.bootstrap import Observed
from components.metrics.statistics import METRICS
from tests.helpers.synthetic_models import Model, answers, judge, measured, prompts

GAIN = GatePolicy(improve={"win_rate": 0.0})  # the length-controlled win rate asks for a fit to each resample


AT_CEILING = {"score_length_correlation": 0.875}  # a mean of eighths is exact


def observed(values: Sequence[float], count: int = 40) -> Observed:
    """A mean's observations: the values again and again, `count` in all."""
    return {f"{n:03}": (float(values[n % len(values)]),) for n in range(count)}


def shares(right: float, of: float, count: int = 40) -> Observed:
    return {f"{n:03}": (right, of) for n in range(count)}


def check(verdict: Verdict, id: str) -> Check:
    return next(one for one in verdict.checks if one.id == id)


# -- one rule at a time; observations that are all the same have an interval without width


@pytest.mark.parametrize(
    ("right", "count", "outcome"),
    [(6, 40, "pass"), (5, 40, "pass"), (4, 40, "fail"), (4, 29, "unknown"), (4, 30, "fail"), (4, 0, "unknown")],
)
def test_a_floor(right: int, count: int, outcome: str) -> None:
    """The floor is 5 of 10: at it is not below it. 29 prompts are too few to prove anything, 30 are enough."""
    verdict = decide({"parse_rate": shares(right, 10, count)}, None, GatePolicy())
    assert check(verdict, "floor/parse_rate").outcome == outcome
    assert verdict.decision == ("stop" if outcome == "fail" else "promote")


@pytest.mark.parametrize(("tied", "outcome"), [([1], "fail"), ([1, 1, 1, 1, 0], "pass"), ([0], "pass")])
def test_a_ceiling(tied: list[float], outcome: str) -> None:
    """The ceiling is 0.8: all prompts tied is above it; 4 of 5 is at it, and its interval holds it."""
    verdict = decide({"score_tie_rate": observed(tied)}, None, GatePolicy())
    assert check(verdict, "ceiling/score_tie_rate").outcome == outcome


@pytest.mark.parametrize(
    ("now", "outcome"),
    [([0.5], "pass"), ([0.25], "fail"), ([0.45], "pass"), ([0.0, 1.0], "pass"), ([0.3, 0.5], "fail")],
)
def test_a_regression(now: list[float], outcome: str) -> None:
    """Against 0.5 on every prompt, with a loss of 0.05 allowed. 0.45 on every prompt is a loss of just that.

    0.3 and 0.5 by turns: a loss of 0.1 with standard error 0.1 / sqrt(40) = 0.016, so all of -0.13 to -0.07 is beyond
    0.05. 0 and 1 by turns lose nothing, and their interval of +-0.15 proves nothing.
    """
    policy = GatePolicy(regress={"win_rate": 0.05 + 1e-9})
    verdict = decide({"win_rate": observed(now)}, {"win_rate": observed([0.5])}, policy)
    assert check(verdict, "regression/win_rate").outcome == outcome


@pytest.mark.parametrize(
    ("now", "outcome"), [([0.5], "fail"), ([0.625], "pass"), ([0.0, 1.0], "fail"), ([0.5, 0.75], "pass")]
)
def test_an_improvement(now: list[float], outcome: str) -> None:
    """Against 0.5 on every prompt: equal is no gain, +0.125 everywhere is one, and +0.125 +- 0.04 is proven as well."""
    verdict = decide({"win_rate": observed(now)}, {"win_rate": observed([0.5])}, GAIN)
    assert check(verdict, "improvement/win_rate").outcome == outcome
    assert verdict.decision == ("promote" if outcome == "pass" else "hold")


def test_an_improvement_must_be_larger_than_what_the_policy_asks_for() -> None:
    one, other = {"win_rate": observed([0.625])}, {"win_rate": observed([0.5])}
    assert decide(one, other, GatePolicy(improve={"win_rate": 0.1})).decision == "promote"
    assert decide(one, other, GatePolicy(improve={"win_rate": 0.125})).decision == "hold"


def test_every_named_metric_must_improve() -> None:
    """Better in one, equal in the other: held, and the reason names the other alone."""
    better = {"win_rate": observed([0.75]), "exact_answers": observed([0, 1])}
    before = {"win_rate": observed([0.5]), "exact_answers": observed([0, 1])}
    verdict = decide(better, before, GatePolicy(improve={"win_rate": 0.0, "exact_answers": 0.0}))
    assert verdict.decision == "hold"
    assert [reason.split()[0] for reason in verdict.reasons] == ["exact_answers"]


@pytest.mark.parametrize(("now", "outcome"), [(599, "pass"), (600, "pass"), (601, "fail"), (300, "pass")])
def test_growth(now: float, outcome: str) -> None:
    """Against 400 characters, 1.5 times as long is 600."""
    verdict = decide({"answer_length": observed([now])}, {"answer_length": observed([400])}, GAIN)
    assert check(verdict, "growth/answer_length").outcome == outcome


def test_growth_must_be_proven() -> None:
    """400 and 900 by turns are 1.625 times 400, with standard error 250 / sqrt(40) / 400 = 0.1: it may be 1.5."""
    verdict = decide({"answer_length": observed([400, 900])}, {"answer_length": observed([400])}, GAIN)
    assert check(verdict, "growth/answer_length").outcome == "pass"


def test_at_the_ceiling_is_not_above_it() -> None:
    verdict = decide({"score_length_correlation": observed([0.875])}, None, GatePolicy(ceilings=AT_CEILING))
    assert check(verdict, "ceiling/score_length_correlation").outcome == "pass"


def test_few_items_are_unknown_for_growth_as_well() -> None:
    verdict = decide({"answer_length": observed([900], 29)}, {"answer_length": observed([400])}, GAIN)
    assert check(verdict, "growth/answer_length").outcome == "unknown"
    assert verdict.decision == "hold"


# -- the words


def test_reasons_say_what_was_seen_and_what_was_asked_for() -> None:
    """40 prompts at 3 of 10; no width."""
    one, other = {"parse_rate": shares(3, 10)}, {"parse_rate": shares(10, 10)}
    assert decide(one, other, GAIN).reasons == [
        "parse_rate is 0.300 (0.300 to 0.300, 40 items): the floor is 0.5",
        "parse_rate changed by -0.700 against the model before (-0.700 to -0.700, 40 items): a loss of 0.1 is allowed",
    ]


def test_the_reason_for_a_promotion_is_the_gain() -> None:
    verdict = decide({"win_rate": observed([0.75])}, {"win_rate": observed([0.5])}, GAIN)
    assert verdict.reasons == [
        "win_rate changed by +0.250 against the champion (+0.250 to +0.250, 40 items): "
        "a gain of more than 0 must be proven"
    ]


def test_too_few_items_are_said_to_be_too_few() -> None:
    verdict = decide({"win_rate": observed([0.75], 6)}, {"win_rate": observed([0.5], 6)}, GAIN)
    assert verdict.decision == "hold"
    assert verdict.reasons == [
        "win_rate changed by +0.250 against the champion, but 6 items are fewer than the 30 that could prove it: "
        "a gain of more than 0 must be proven"
    ]


def test_what_was_not_measured_is_said_to_be_missing() -> None:
    verdict = decide({}, {"win_rate": observed([0.5])}, GAIN)
    assert verdict.reasons == [
        "win_rate was not measured on items of both models: a gain of more than 0 must be proven"
    ]
    assert check(verdict, "floor/parse_rate").reason == "parse_rate was not measured: the floor is 0.5"
    assert all(one.outcome == "unknown" for one in verdict.checks)


def test_what_is_undefined_is_said_to_be_undefined() -> None:
    """Nothing but ties has no accuracy; one prompt of 40 with a pair is missing in (39/40)^40 = 36 % of resamples."""
    ties = decide({"pairwise_accuracy": shares(0, 0)}, None, GatePolicy())
    assert check(ties, "floor/pairwise_accuracy").reason.startswith("pairwise_accuracy is undefined on 40 items")
    rare = decide({"pairwise_accuracy": shares(0, 0) | {"000": (1.0, 1.0)}}, None, GatePolicy(min_items=2))
    assert check(rare, "floor/pairwise_accuracy").outcome == "unknown"


def test_three_pairs_are_no_proof_though_forty_prompts_were_judged() -> None:
    """A judge that ties nearly everything: 3 pairs without a tie, all wrong, say next to nothing about it."""
    seen = shares(0, 0) | {f"{n:03}": (0.0, 1.0) for n in range(3)}
    rule = check(decide({"pairwise_accuracy": seen}, None, GatePolicy()), "floor/pairwise_accuracy")
    assert (rule.items, rule.outcome) == (3, "unknown")


# -- who is compared with whom


def test_the_first_model_is_promoted_when_nothing_speaks_against_it() -> None:
    verdict = decide(measured(Model()), None, GatePolicy())
    assert verdict.decision == "promote"
    assert verdict.reasons == ["there is no champion yet, and nothing speaks against this model"]


def test_a_first_model_that_hardly_was_measured_is_promoted_with_a_word_about_it() -> None:
    """Six prompts, as in the demo: all nine absolute rules are unknown."""
    verdict = decide(measured(Model(), 6), None, GatePolicy())
    assert verdict.decision == "promote"
    assert verdict.reasons == [
        "there is no champion yet, and nothing speaks against this model; 9 of 9 rules had too little to go by"
    ]


def test_regressions_are_measured_against_the_model_before_and_gains_against_the_champion() -> None:
    """0.6 after 0.7 with a champion at 0.5: a gain over the champion, yet a loss of 0.1 within the run."""
    policy = GatePolicy(improve={"win_rate": 0.0}, regress={"win_rate": 0.05})
    now, before, champion = ({"win_rate": observed([rate])} for rate in (0.6, 0.7, 0.5))
    verdict = decide(now, champion, policy, before)
    assert verdict.decision == "stop"
    assert check(verdict, "improvement/win_rate").outcome == "pass"
    assert decide(now, champion, policy, champion).decision == "promote"


def test_without_a_model_before_the_champion_is_what_a_loss_is_measured_against() -> None:
    """Two models side by side, as `srlm eval` compares them."""
    policy = GatePolicy(improve={"win_rate": 0.0}, regress={"win_rate": 0.05})
    assert decide({"win_rate": observed([0.4])}, {"win_rate": observed([0.5])}, policy).decision == "stop"


def test_the_first_model_of_a_run_is_no_regression_against_the_champion_of_an_earlier_one() -> None:
    """M1 is worse than the M3 of last week, as it must be; its run goes on, and the champion stays."""
    policy = GatePolicy(improve={"win_rate": 0.0}, regress={"win_rate": 0.05})
    verdict = decide({"win_rate": observed([0.4])}, {"win_rate": observed([0.5])}, policy, previous={})
    assert verdict.decision == "hold"
    assert not [one for one in verdict.checks if one.rule in ("regression", "growth")]


def test_a_regression_stops_without_a_champion() -> None:
    """The champion may be unknown because the registry does not answer; the model before is known all the same."""
    verdict = decide({"parse_rate": shares(6, 10)}, None, GatePolicy(), {"parse_rate": shares(10, 10)})
    assert verdict.decision == "stop"


def test_without_a_metric_to_improve_nothing_is_promoted() -> None:
    verdict = decide({}, {}, GatePolicy(improve={}))
    assert (verdict.decision, verdict.reasons) == ("hold", ["the policy names no metric to improve"])


def test_a_stop_outweighs_a_gain_and_shows_it() -> None:
    one = {"win_rate": observed([0.9]), "parse_rate": shares(1, 10)}
    verdict = decide(one, {"win_rate": observed([0.5])}, GAIN)
    assert verdict.decision == "stop"
    assert [reason.split()[0] for reason in verdict.reasons] == ["parse_rate"]
    assert check(verdict, "improvement/win_rate").outcome == "pass"


def test_the_same_measurements_get_the_same_verdict() -> None:
    one, other = measured(Model(noise=2.0), seed=1), measured(Model(), seed=2)
    assert decide(one, other, GAIN) == decide(one, other, GAIN)


# -- models that must not pass, measured by the functions that measure real ones


def reasons(model: Model, policy: GatePolicy = GAIN, champion: Model | None = None) -> list[str]:
    """Why `model` is stopped after a healthy one, each reason up to its first number."""
    verdict = decide(measured(model, seed=1), measured(champion or Model(), seed=2), policy)
    assert verdict.decision == "stop", verdict.reasons
    return [
        reason[: next(n for n, char in enumerate(reason) if char.isdigit())].rstrip(" +-") for reason in verdict.reasons
    ]


def test_a_healthy_model_passes() -> None:
    """No better, no worse: held."""
    assert decide(measured(Model(), seed=1), measured(Model(), seed=2), GAIN).decision == "hold"


def test_a_better_model_is_promoted() -> None:
    """Wins of 0.5 against 0.3 with standard deviation 0.2 on 60 instructions: 0.2 +- 0.07."""
    assert decide(measured(Model(wins=0.5), seed=1), measured(Model(), seed=2), GAIN).decision == "promote"


def test_a_judge_that_always_says_five_is_stopped() -> None:
    """No entropy, every prompt tied: on people's replies and on its own candidates."""
    found = measured(Model(always=5))
    assert set(found["score_entropy"].values()) == {(0, 0, 0, 0, 0, 9)}
    assert set(found["score_tie_rate"].values()) == {(1.0,)}
    assert reasons(Model(always=5)) == ["score_entropy is", "score_tie_rate is", "round_score_tie_rate is"]


def test_a_first_model_whose_judge_always_says_five_is_stopped_too() -> None:
    verdict = decide(measured(Model(always=5)), None, GatePolicy())
    assert verdict.decision == "stop"
    assert verdict.reasons[0] == "score_entropy is 0.000 (0.000 to 0.000, 60 items): the floor is 0.5"


def test_a_judge_whose_judgements_stop_parsing_is_stopped() -> None:
    """From all of the judgements to 40 % of them: below the floor, and a loss of 0.6 where 0.1 is allowed."""
    assert reasons(Model(parsed=0.4)) == ["parse_rate is", "round_parse_rate is", "parse_rate changed by"]


def test_a_judge_that_parses_less_is_stopped_well_above_the_floor() -> None:
    assert reasons(Model(parsed=0.7)) == ["parse_rate changed by"]


def test_a_judge_that_lost_every_judgement_is_stopped() -> None:
    """There is no score left to take an accuracy or an entropy from: that is unknown, the parse rate is not."""
    verdict = decide(measured(Model(parsed=0.0)), None, GatePolicy())
    assert verdict.decision == "stop"
    assert check(verdict, "floor/score_entropy").outcome == "unknown"


def test_a_judge_that_scores_by_length_is_stopped() -> None:
    assert reasons(Model(by_length=True)) == [
        "score_length_correlation is",
        "round_score_length_correlation is",
        "pairwise_accuracy changed by",
    ]


def test_a_judge_that_throws_dice_is_stopped() -> None:
    """Noise of 50 points on a scale of 5."""
    assert "pairwise_accuracy changed by" in reasons(Model(noise=50.0))


def test_a_candidate_that_is_only_longer_is_stopped() -> None:
    """More than twice as long and preferred for it; where nothing is known at equal length, nothing speaks for it."""
    verdict = decide(measured(Model(length=1000, wins=0.5), seed=1), measured(Model(), seed=2), GAIN)
    assert check(verdict, "improvement/win_rate").outcome == "pass"
    assert verdict.decision == "stop"
    assert len(verdict.reasons) == 1
    assert verdict.reasons[0].startswith("answers are 2.")
    assert verdict.reasons[0].endswith(
        "1.5 times is allowed unless lc_win_rate is better; lc_win_rate was not measured on items of both models"
    )


def fitted(length: float, merit: float, count: int = 120) -> dict[str, Observed]:
    """Observations of an annotator that likes merit and length, with references of 400 characters on average.

    Preference: sigmoid(merit + 2 tanh(length difference / 400)); lengths vary with the instruction.
    """
    draws = np.random.default_rng(3)
    own, reference = draws.gamma(4, length / 4, count), draws.gamma(4, 100, count)
    noise = draws.normal(0, 0.3, count)
    preference = 1 / (1 + np.exp(-(merit + noise + 2 * np.tanh((own - reference) / 400))))
    rows = zip(preference, own, reference, strict=True)
    values = {f"{n:03}": (float(p), float(ours), float(theirs), 1.0) for n, (p, ours, theirs) in enumerate(rows)}
    return {
        "lc_win_rate": values,
        "win_rate": {id: one[:1] for id, one in values.items()},
        "answer_length": {id: one[1:2] for id, one in values.items()},
    }


def test_few_items_do_not_excuse_growth() -> None:
    """Better at equal length on 20 instructions, with 30 asked for: longer on 120 stays longer."""
    longer, before = fitted(1000, 2.0), fitted(400, 0.0)
    longer["lc_win_rate"] = dict(list(longer["lc_win_rate"].items())[:20])
    verdict = decide(longer, before, GatePolicy(resamples=100))
    assert verdict.decision == "stop"
    assert "20 items are fewer than the 30" in verdict.reasons[0]


@pytest.mark.slow
def test_length_is_forgiven_only_where_answers_are_better_at_equal_length() -> None:
    """Twice the length with the same merit wins more and is stopped; with merit it is promoted."""
    before, quick = fitted(400, 0.0), GatePolicy(resamples=200)
    longer = decide(fitted(1000, 0.0), before, quick)
    assert longer.decision == "stop"
    assert longer.reasons[0].startswith("answers are ") and "lc_win_rate changed by" in longer.reasons[0]
    win = METRICS["win_rate"].statistic
    rates = [win(np.array(list(found["win_rate"].values()))) for found in (fitted(1000, 0.0), before)]
    assert rates[0] > rates[1] + 0.1
    assert decide(fitted(1000, 1.0), before, quick).decision == "promote"


def test_the_made_up_models_are_what_they_say() -> None:
    """400 characters on average, and three judgements of each of three replies."""
    draws, asked = np.random.default_rng(0), prompts(200)
    assert np.mean([len(one.text) for one in answers(Model(), asked, draws)]) == pytest.approx(400, rel=0.1)
    assert len(judge(Model(), asked, draws)) == 200 * 9


# -- the policy


@pytest.mark.parametrize("section", ["regress", "floors", "ceilings"])
def test_a_rule_of_ones_own_stands_beside_the_default_ones(section: str) -> None:
    """Who raises one threshold must not lose the other rules without a word; `plain` and back changes nothing."""
    default: dict[str, float] = getattr(GatePolicy(), section)
    name = next(iter(default))
    own: dict[str, Any] = {section: {name: 0.7, "exact_match": 0.2}}
    policy = GatePolicy(**own)
    assert getattr(policy, section) == default | {name: 0.7, "exact_match": 0.2}
    assert GatePolicy(**policy.to_dict()) == policy
    assert GatePolicy() == GatePolicy(**GatePolicy().to_dict())


def test_what_must_improve_replaces_the_default() -> None:
    assert GatePolicy(improve={"win_rate": 0.02}).improve == {"win_rate": 0.02}


@pytest.mark.parametrize(
    ("own", "problem"),
    [
        ({"floors": {"parse_rte": 0.5}}, "did you mean parse_rate?"),
        ({"improve": {"elo": 0.5}}, "known are parse_rate"),
        ({"regress": {"win_rate": -0.1}}, "without a sign"),
        ({"floors": 0.5}, "valid dictionary"),
        ({"longest_growth": 1.0}, "greater than 1"),
    ],
)
def test_mistakes_in_a_policy_are_told(own: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem.replace("?", r"\?")):
        GatePolicy(**own)


@pytest.mark.parametrize(
    ("agreed", "labels", "outcome"),
    [(36, 40, "pass"), (30, 40, "fail"), (29, 29, "unknown"), (0, 0, "unknown")],
)
def test_what_is_demanded_holds_a_model_until_it_is_proven(agreed: int, labels: int, outcome: str) -> None:
    """36 of 40 are 0.77 to 0.96 by Wilson, 30 of 40 are 0.60 to 0.86: the lower end must reach 0.7. 29 labels are too
    few, and no label is no agreement. Neither stops the run."""
    said = {f"{n:03}": (float(n < agreed), 1.0) for n in range(labels)}
    policy = GatePolicy(improve={"win_rate": 0.0}, demand={"human_agreement": 0.7})
    better, champion = {"win_rate": observed([1])}, {"win_rate": observed([0])}
    for other in (None, champion):
        verdict = decide(better | {"human_agreement": said}, other, policy)
        assert check(verdict, "demand/human_agreement").outcome == outcome
        assert verdict.decision == ("promote" if outcome == "pass" else "hold")
        told = " ".join(verdict.reasons)
        assert ("srlm review" in told) == (outcome != "pass" or other is not None)
    worse = decide({"parse_rate": shares(0, 10)}, None, policy)
    assert worse.decision == "stop"


def test_a_policy_that_asks_nobody_is_the_policy_it_was() -> None:
    """What is not used leaves no trace in a stage's key."""
    assert not {"demand", "sign_off"} & GatePolicy().identity().keys()
    assert {"demand", "sign_off"} < GatePolicy(demand={"parse_rate": 0.9}, sign_off="required").identity().keys()
    with pytest.raises(ValidationError, match="did you mean human_agreement"):
        GatePolicy(demand={"human_agrement": 0.7})
