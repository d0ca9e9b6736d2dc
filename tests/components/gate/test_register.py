"""What follows a verdict, with an MLflow server that is there, comes late, or goes down in the middle."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from components.core.journal import read_journal
from components.gate.register import apply_verdict, retry_unregistered
from components.registry.champion import find_champion, promote, registered, roll_back
from components.registry.client import REASONS, VERDICT
from components.registry.model_run import TrainedModel
from components.registry.registry import register
from components.run.report import summarise
from tests.helpers.forwarder import Forwarder, forwarded
from tests.helpers.registered_models import gated, model_file, trained

pytestmark = pytest.mark.slow
NOBODY = "http://127.0.0.1:9"


@pytest.fixture
def server(tracking_uri: str) -> Iterator[Forwarder]:
    with forwarded(tracking_uri) as forwarder:
        yield forwarder


@pytest.fixture
def client(tracking_uri: str) -> MlflowClient:
    return MlflowClient(tracking_uri)


def pass_and_settle(root: Path, uri: str, model: TrainedModel) -> dict[str, Any]:
    """What the gate's step does."""
    return apply_verdict(str(root), uri, model, gated(root, uri, model))


def notes(root: Path) -> dict[str, dict[str, Any]]:
    return {note["name"]: note for note in read_journal(str(root), "run-1", "models")}


def state(client: MlflowClient, name: str) -> dict[str, Any]:
    """Aliases, and each version's verdict; by the models' own aliases, as the numbers depend on what came first."""
    aliases = {alias: str(number) for alias, number in client.get_registered_model(name).aliases.items()}
    models = {number: alias for alias, number in aliases.items() if alias not in ("candidate", "champion", "previous")}
    found = client.search_model_versions(f"name = '{name}'")
    assert sorted(models) == sorted(version.version for version in found)  # each model once
    verdicts = {models[version.version]: version.tags.get(VERDICT) for version in found}
    places = {alias: models[aliases[alias]] for alias in ("candidate", "champion", "previous") if alias in aliases}
    return {"verdicts": verdicts, **places}


def test_the_first_is_promoted_and_an_equal_second_held(
    tmp_path: Path, tracking_uri: str, client: MlflowClient, registered_name: str
) -> None:
    first, second = (trained(tmp_path, registered_name, alias) for alias in ("m1", "m2"))
    assert pass_and_settle(tmp_path, tracking_uri, first)["promoted"]
    assert not pass_and_settle(tmp_path, tracking_uri, second)["promoted"]
    expected = {"verdicts": {"m1": "promote", "m2": "hold"}, "candidate": "m2", "champion": "m1"}
    assert state(client, registered_name) == expected
    tags = client.get_model_version_by_alias(registered_name, "m2").tags
    assert "pairwise_accuracy changed by" in tags[REASONS]
    assert tags[REASONS] == "; ".join(notes(tmp_path)["m2"]["reasons"])
    assert summarise(str(tmp_path), "run-1")["models"][1]["reasons"] == notes(tmp_path)["m2"]["reasons"]


def test_a_model_without_a_gate_is_registered_and_no_candidate(
    tmp_path: Path, tracking_uri: str, client: MlflowClient, registered_name: str
) -> None:
    note = apply_verdict(str(tmp_path), tracking_uri, trained(tmp_path, registered_name, "sft"))
    assert (note["version"], note["verdict"]) == ("1", None)
    assert state(client, registered_name) == {"verdicts": {"sft": None}}


def test_a_repeated_run_does_not_undo_a_rollback(
    tmp_path: Path, tracking_uri: str, client: MlflowClient, registered_name: str
) -> None:
    models = [trained(tmp_path, registered_name, alias, right) for alias, right in (("m1", 20), ("m2", 40))]
    for model in models:
        pass_and_settle(tmp_path, tracking_uri, model)
    assert state(client, registered_name)["champion"] == "m2"
    roll_back(client, registered_name)
    for model in models:
        pass_and_settle(tmp_path, tracking_uri, model)
    assert state(client, registered_name)["champion"] == "m1"


def test_a_run_that_is_interrupted_while_it_reuses_leaves_the_candidate(
    tmp_path: Path, tracking_uri: str, client: MlflowClient, registered_name: str
) -> None:
    """It has found m1 again and never came to m2, which CI still compares with the champion."""
    models = [trained(tmp_path, registered_name, alias, right) for alias, right in (("m1", 20), ("m2", 40))]
    for model in [*models, models[0]]:
        pass_and_settle(tmp_path, tracking_uri, model)
    assert state(client, registered_name)["candidate"] == "m2"


def test_what_the_registry_did_not_take_is_settled_at_the_end(
    tmp_path: Path, tracking_uri: str, client: MlflowClient, registered_name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Down for the baseline and all models: at the end they come in their order, each against the champion of then.

    m1 becomes champion, m2 is no better, m3 is.
    """
    apply_verdict(str(tmp_path), NOBODY, trained(tmp_path, registered_name, "sft"))
    for alias, right in (("m1", 20), ("m2", 20), ("m3", 40)):
        note = pass_and_settle(tmp_path, NOBODY, trained(tmp_path, registered_name, alias, right))
        assert (note["version"], note["promoted"], note["verdict"]) == (None, False, "hold")
    assert "sft is not registered" in capsys.readouterr().err
    retry_unregistered(str(tmp_path), tracking_uri, "run-1")
    assert state(client, registered_name) == {
        "verdicts": {"sft": None, "m1": "promote", "m2": "hold", "m3": "promote"},
        "candidate": "m3",
        "champion": "m3",
        "previous": "m1",
    }
    found = [(note["name"], note["version"], note["promoted"]) for note in notes(tmp_path).values()]
    assert found == [("sft", "1", False), ("m1", "2", True), ("m2", "3", False), ("m3", "4", True)]
    assert "did not answer" not in json.dumps(notes(tmp_path))


def test_a_model_that_comes_while_others_are_left_waits_for_them(
    tmp_path: Path, server: Forwarder, client: MlflowClient, registered_name: str
) -> None:
    """m1's gate found no champion, then MLflow went down; it is back for m2, as good as m1.

    m2's gate finds no champion either, and promotes it; but m1 is settled first, and m2 is held against it.
    """
    first, second = (trained(tmp_path, registered_name, alias) for alias in ("m1", "m2"))
    gate = gated(tmp_path, server.uri, first)
    server.down_after(0)
    assert apply_verdict(str(tmp_path), server.uri, first, gate)["version"] is None
    server.down_after(float("inf"))
    note = pass_and_settle(tmp_path, server.uri, second)
    assert (note["verdict"], note["promoted"]) == ("hold", False)
    expected = {"verdicts": {"m1": "promote", "m2": "hold"}, "candidate": "m2", "champion": "m1"}
    assert state(client, registered_name) == expected


def test_order_is_kept_while_the_first_is_not_taken(tmp_path: Path, server: Forwarder, registered_name: str) -> None:
    """MLflow answers for m2's gate and not for m1: m2 is not registered before it."""
    first, second = (trained(tmp_path, registered_name, alias) for alias in ("m1", "m2"))
    pass_and_settle(tmp_path, NOBODY, first)
    gate = gated(tmp_path, server.uri, second)
    server.down_after(2)
    assert apply_verdict(str(tmp_path), server.uri, second, gate)["version"] is None
    assert [note["version"] for note in notes(tmp_path).values()] == [None, None]


def test_a_run_that_is_tried_again_keeps_the_order_of_its_models(
    tmp_path: Path, tracking_uri: str, client: MlflowClient, registered_name: str
) -> None:
    """MLflow was away for both models of a run; the same run again comes to m1 first, while m2 is left, too."""
    models = [trained(tmp_path, registered_name, alias) for alias in ("m1", "m2")]
    for uri in (NOBODY, tracking_uri):
        for model in models:
            pass_and_settle(tmp_path, uri, model)
    expected = {"verdicts": {"m1": "promote", "m2": "hold"}, "candidate": "m2", "champion": "m1"}
    assert state(client, registered_name) == expected
    assert list(notes(tmp_path)) == ["m1", "m2"]


def test_a_verdict_without_the_champion_is_made_again_before_it_is_followed(
    tmp_path: Path, server: Forwarder, client: MlflowClient, registered_name: str
) -> None:
    """MLflow was away for a moment, while the gate asked: that makes no verdict of "hold" for good."""
    model = trained(tmp_path, registered_name, "m1")
    gate = gated(tmp_path, NOBODY, model)
    server.down_after(0)
    assert apply_verdict(str(tmp_path), server.uri, model, gate)["version"] is None
    server.down_after(float("inf"))
    assert apply_verdict(str(tmp_path), server.uri, model, gate)["promoted"]
    assert state(client, registered_name) == {"verdicts": {"m1": "promote"}, "candidate": "m1", "champion": "m1"}


def test_a_server_that_stays_down_leaves_the_notes_and_says_what_to_do(
    tmp_path: Path, tracking_uri: str, client: MlflowClient, registered_name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two of two are left; a later run of the same recipe registers them (under its own name)."""
    models = [trained(tmp_path, registered_name, alias) for alias in ("m1", "m2")]
    for model in models:
        pass_and_settle(tmp_path, NOBODY, model)
    before = notes(tmp_path)
    retry_unregistered(str(tmp_path), NOBODY, "run-1")
    assert notes(tmp_path) == before
    assert "m1, m2 not registered: once MLflow answers, run the recipe again" in capsys.readouterr().err
    later = [TrainedModel(model.registered_name, model.alias, model.uri, model.measured, "run-2") for model in models]
    for model in later:
        pass_and_settle(tmp_path, tracking_uri, model)
    expected = {"verdicts": {"m1": "promote", "m2": "hold"}, "candidate": "m2", "champion": "m1"}
    assert state(client, registered_name) == expected


def test_a_model_whose_files_were_changed_does_not_keep_the_others_out(
    tmp_path: Path, tracking_uri: str, client: MlflowClient, registered_name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """m1 would be promoted, but its weights are no longer those that were measured: m2 becomes champion."""
    models = [trained(tmp_path, registered_name, alias) for alias in ("m1", "m2")]
    for model in models:
        pass_and_settle(tmp_path, NOBODY, model)
    model_file(models[0].uri).write_text("something else")
    retry_unregistered(str(tmp_path), tracking_uri, "run-1")
    assert "does not have the content" in capsys.readouterr().err
    assert state(client, registered_name)["champion"] == "m2"


def test_another_champion_in_the_meantime_is_compared_with(
    tmp_path: Path, server: Forwarder, client: MlflowClient, registered_name: str
) -> None:
    """m1 was to be the first champion; while MLflow did not take it, somebody promoted a model that is as good."""
    model = trained(tmp_path, registered_name, "m1")
    gate = gated(tmp_path, server.uri, model)
    server.down_after(0)
    apply_verdict(str(tmp_path), server.uri, model, gate)
    promote(client, registered(register(client, trained(tmp_path, registered_name, "other"))))
    server.down_after(float("inf"))
    retry_unregistered(str(tmp_path), server.uri, "run-1")
    assert notes(tmp_path)["m1"]["verdict"] == "hold"
    assert state(client, registered_name)["champion"] == "other"


@pytest.mark.extended
def test_down_after_any_request(tmp_path: Path, server: Forwarder, client: MlflowClient, registered_name: str) -> None:
    """MLflow does what it is asked and goes down before it answers, at each request of settling a better m2 in turn.

    Whenever that happens, the end of the run finds what was begun: each model once, one MLflow run a model, m2
    champion and m1 previous.
    """
    root, answers, asked = tmp_path, 0, float("inf")
    while answers <= asked:
        name, place = f"{registered_name}-{answers}", root / str(answers)
        first, second = (trained(place, name, alias, right) for alias, right in (("m1", 20), ("m2", 40)))
        pass_and_settle(place, server.uri, first)
        gate = gated(place, server.uri, second)
        server.down_after(answers)
        taken = apply_verdict(str(place), server.uri, second, gate)["version"] is not None
        asked = server.seen if taken else asked
        server.down_after(float("inf"))
        retry_unregistered(str(place), server.uri, "run-1")
        retry_unregistered(str(place), server.uri, "run-1")
        assert state(client, name) == {
            "verdicts": {"m1": "promote", "m2": "promote"},
            "candidate": "m2",
            "champion": "m2",
            "previous": "m1",
        }
        champion = find_champion(client, name)
        assert champion is not None and champion.digest == second.digest()
        assert [(note["version"], note["promoted"]) for note in notes(place).values()] == [("1", True), ("2", True)]
        experiment = client.get_experiment_by_name(name)
        runs = client.search_runs([experiment.experiment_id])
        assert [run.info.status for run in runs] == ["FINISHED"] * 2
        answers += 1
    assert answers > 15
