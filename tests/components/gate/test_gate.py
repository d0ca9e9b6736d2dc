"""The gate as a stage: whom it compares with, and that the same is decided about once."""

from __future__ import annotations

from pathlib import Path

import pytest
from mlflow import MlflowClient

from components.core.errors import UserError
from components.core.records import Check, Counts
from components.core.settings import Settings
from components.core.stage import Stage, parent, read_manifest, read_records
from components.core.store import open_store
from components.gate.gate import GatedModel, compare_models, measured_differently, read_decision
from components.gate.register import decide_again
from components.registry.champion import promote, registered
from components.registry.client import RegistryError
from components.registry.model_run import TrainedModel
from components.registry.registry import register
from tests.helpers.registered_models import gated, measure, policy, trained

pytestmark = pytest.mark.slow
NOBODY = "http://127.0.0.1:9"


def make_champion(tracking_uri: str, model: TrainedModel) -> None:
    client = MlflowClient(tracking_uri)
    promote(client, registered(register(client, model)))


def test_the_first_model_is_promoted_and_decided_about_once(
    tmp_path: Path, tracking_uri: str, registered_name: str
) -> None:
    model = trained(tmp_path, registered_name, "m1")
    gate = gated(tmp_path, tracking_uri, model)
    assert (read_decision(gate).decision, read_decision(gate).champion) == ("promote", "")
    make_champion(tracking_uri, model)
    assert gated(tmp_path, tracking_uri, model) == gate
    assert gated(tmp_path, NOBODY, model) == gate
    assert decide_again(str(tmp_path), tracking_uri, gate) == gate  # it is the champion itself


def test_an_equal_model_is_held_and_a_better_one_promoted(
    tmp_path: Path, tracking_uri: str, registered_name: str
) -> None:
    """20 of 40 pairs against 20: the difference is 0 on every resample; 40 against 20: about 0.5, never near 0."""
    champion = trained(tmp_path, registered_name, "m1", right=20)
    make_champion(tracking_uri, champion)
    equal = read_decision(gated(tmp_path, tracking_uri, trained(tmp_path, registered_name, "m2", right=20)))
    assert (equal.decision, equal.champion) == ("hold", champion.digest())
    better = read_decision(gated(tmp_path, tracking_uri, trained(tmp_path, registered_name, "m3", right=40)))
    assert (better.decision, better.champion) == ("promote", champion.digest())
    assert "pairwise_accuracy changed by +0.500 against the champion" in better.reasons[0]


def test_the_first_model_of_a_later_run_is_not_held_against_the_champion(
    tmp_path: Path, tracking_uri: str, registered_name: str
) -> None:
    """M1 starts anew: 20 of 40 pairs after a champion with 40 would be a regression, were that the model before it."""
    champion = trained(tmp_path, registered_name, "m3", right=40)
    make_champion(tracking_uri, champion)
    anew = trained(tmp_path, registered_name, "m1", right=20, run="run-2")
    assert read_decision(gated(tmp_path, tracking_uri, anew)).decision == "hold"
    after = trained(tmp_path, registered_name, "m4", right=20)
    assert read_decision(gated(tmp_path, tracking_uri, after, champion.measured)).decision == "stop"


def test_head_to_head_with_the_model_before_does_not_make_models_incomparable(tmp_path: Path) -> None:
    """An annotation without instructions, which the first model of a run does not have, says nothing about others."""
    first, second = (trained(tmp_path, "any", alias) for alias in ("m1", "m2"))
    stage = Stage(str(tmp_path), "annotation", Settings(), {"evaluation": parent(second.measured[0])})
    stage.publish(Counts())
    assert measured_differently([*second.measured, stage.uri], first.measured) == ""


def test_the_champion_itself_keeps_its_place(tmp_path: Path, tracking_uri: str, registered_name: str) -> None:
    """Measured anew, with other held-out prompts, so that it is another candidate."""
    model = trained(tmp_path, registered_name, "m1")
    make_champion(tracking_uri, model)
    again = TrainedModel(registered_name, "m1", model.uri, [measure(tmp_path, model.uri, 20, "other")], "run-2")
    assert read_decision(gated(tmp_path, tracking_uri, again)).reasons == ["it is the champion already"]


def test_a_champion_measured_differently_cannot_be_compared_with(
    tmp_path: Path, tracking_uri: str, registered_name: str
) -> None:
    champion = trained(tmp_path, registered_name, "m1")
    make_champion(tracking_uri, champion)
    model = trained(tmp_path, registered_name, "m2", right=40)
    other = TrainedModel(registered_name, "m2", model.uri, [measure(tmp_path, model.uri, 40, "other")], "run-1")
    decision = read_decision(gated(tmp_path, tracking_uri, other))
    assert decision.decision == "hold"
    assert decision.reasons == [
        "the champion (version 1) cannot be compared with: evaluation used another seed data",
    ]


def test_a_champion_whose_measurements_are_gone_cannot_be_compared_with(
    tmp_path: Path, tracking_uri: str, registered_name: str
) -> None:
    champion = trained(tmp_path, registered_name, "m1")
    make_champion(tracking_uri, champion)
    open_store(champion.measured[0]).delete("manifest.json")
    decision = read_decision(gated(tmp_path, tracking_uri, trained(tmp_path, registered_name, "m2", right=40)))
    assert decision.decision == "hold"
    assert "cannot be compared with" in decision.reasons[0]
    assert "no finished stage" in decision.reasons[0]


def test_without_the_registry_nothing_is_promoted_and_the_verdict_is_made_again(
    tmp_path: Path, tracking_uri: str, registered_name: str
) -> None:
    model = trained(tmp_path, registered_name, "m1")
    unknown = gated(tmp_path, NOBODY, model)
    decision = read_decision(unknown)
    assert (decision.decision, decision.champion) == ("hold", None)
    assert decision.reasons == ["the champion is unknown, as the registry did not answer"]
    assert gated(tmp_path, NOBODY, model) == unknown
    gate = gated(tmp_path, tracking_uri, model)
    assert gate != unknown
    assert read_decision(gate).decision == "promote"
    assert decide_again(str(tmp_path), tracking_uri, unknown) == gate


def test_a_verdict_is_made_anew_where_the_champion_has_changed(
    tmp_path: Path, tracking_uri: str, registered_name: str
) -> None:
    """Without a champion m2 was promoted; against m1, as good as it, it is held; nothing changes where none changed."""
    second = trained(tmp_path, registered_name, "m2")
    gate = gated(tmp_path, tracking_uri, second)
    assert decide_again(str(tmp_path), tracking_uri, gate) == gate
    make_champion(tracking_uri, trained(tmp_path, registered_name, "m1"))
    anew = decide_again(str(tmp_path), tracking_uri, gate)
    assert (read_decision(gate).decision, read_decision(anew).decision) == ("promote", "hold")
    assert decide_again(str(tmp_path), tracking_uri, anew) == anew
    with pytest.raises(RegistryError):  # no verdict of before stands for one that was to be made now
        decide_again(str(tmp_path), NOBODY, anew)


def test_a_comparison_is_made_once_and_needs_equal_measurements(tmp_path: Path, registered_name: str) -> None:
    better, worse = (trained(tmp_path, registered_name, alias, right) for alias, right in (("m2", 40), ("m1", 10)))
    one, other = (GatedModel(model.uri, model.measured) for model in (better, worse))
    made = compare_models(str(tmp_path), policy(registered_name), one, other)
    uri = f"{tmp_path}/comparison/{made.key}"
    assert (read_decision(uri).decision, read_decision(uri).champion) == ("promote", worse.digest())
    checks = read_records(uri, "checks", Check)
    assert [check.outcome for check in checks if check.rule == "improvement"] == ["pass"]
    assert made.counts.kept["checks passed"] >= 1
    assert sum(made.counts.kept.values()) == len(checks)
    assert compare_models(str(tmp_path), policy(registered_name), one, other) == made
    otherwise = GatedModel(worse.uri, [measure(tmp_path, worse.uri, 11, "other")])
    with pytest.raises(UserError, match="another seed data"):
        compare_models(str(tmp_path), policy(registered_name), one, otherwise)


def test_the_verdict_names_what_it_was_made_of(tmp_path: Path, tracking_uri: str, registered_name: str) -> None:
    first, second = (trained(tmp_path, registered_name, alias) for alias in ("m1", "m2"))
    parents = read_manifest(gated(tmp_path, tracking_uri, second, first.measured)).parents
    named = {role: one.uri for role, one in parents.items()}
    assert named == {"model": second.uri, "measured_1": second.measured[0], "previous_1": first.measured[0]}
