"""What waits for people: a model that passed and needs a sign-off, and one that was held for want of labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from components.core.journal import write_journal
from components.core.records import Counts, Observation, Parent
from components.core.settings import Settings
from components.core.stage import Stage, read_manifest
from components.gate.gate import WAITS
from components.gate.register import apply_verdict, decide_with_labels, log_labels
from components.registry.champion import SIGN_OFF, promote, registered, roll_back, sign_off
from components.registry.client import MLFLOW_RUN, REASONS, VERDICT
from components.registry.registry import TrainedModel
from tests.helpers.registered_models import gated, trained

pytestmark = pytest.mark.slow
LABELS = 40


@pytest.fixture
def client(tracking_uri: str) -> MlflowClient:
    return MlflowClient(tracking_uri)


def pass_with(root: Path, uri: str, model: TrainedModel, **rules: Any) -> dict[str, Any]:
    return apply_verdict(str(root), uri, model, gated(root, uri, model, **rules))


def champion(client: MlflowClient, name: str) -> str | None:
    number = client.get_registered_model(name).aliases.get("champion")
    return str(number) if number else None


def test_with_a_sign_off_the_champion_moves_by_srlm_promote_alone(
    tmp_path: Path, tracking_uri: str, client: MlflowClient, registered_name: str
) -> None:
    first, second = (trained(tmp_path, registered_name, alias, right) for alias, right in (("m1", 20), ("m2", 40)))
    note = pass_with(tmp_path, tracking_uri, first, sign_off="required")
    assert (note["verdict"], note["promoted"], note["reasons"][-1]) == ("promote", False, WAITS)
    assert champion(client, registered_name) is None
    version = client.get_model_version(registered_name, "1")
    assert (version.tags[VERDICT], version.tags[SIGN_OFF]) == ("promote", "waits") and WAITS in version.tags[REASONS]
    assert client.get_registered_model(registered_name).aliases["candidate"] == "1"
    promote(client, registered(version))
    sign_off(client, registered(version), "ann")
    signed = client.get_model_version(registered_name, "1").tags[SIGN_OFF]
    assert signed.startswith("by ann, 20") and champion(client, registered_name) == "1"
    assert not pass_with(tmp_path, tracking_uri, second, sign_off="required")["promoted"]
    again = pass_with(tmp_path, tracking_uri, first, sign_off="required")  # a run that is repeated
    assert again["promoted"] and client.get_model_version(registered_name, "1").tags[SIGN_OFF] == signed
    assert champion(client, registered_name) == "1"


def test_what_was_rolled_back_is_not_promoted_again_by_a_repeated_run(
    tmp_path: Path, tracking_uri: str, client: MlflowClient, registered_name: str
) -> None:
    models = [trained(tmp_path, registered_name, alias, right) for alias, right in (("m1", 20), ("m2", 40))]
    for model in models:
        note = pass_with(tmp_path, tracking_uri, model, sign_off="required")
        promote(client, registered(client.get_model_version(registered_name, note["version"])))
    roll_back(client, registered_name)
    assert not pass_with(tmp_path, tracking_uri, models[1], sign_off="required")["promoted"]
    assert champion(client, registered_name) == "1"


def test_labels_that_prove_what_is_demanded_promote_a_model_that_was_held(
    tmp_path: Path, tracking_uri: str, client: MlflowClient, registered_name: str
) -> None:
    """30 of 40 labels agree, 0.60 to 0.86: too little for 0.7. Then 38 of 40, 0.83 to 0.99."""
    model = trained(tmp_path, registered_name, "m2", 40)
    rules: dict[str, Any] = {"demand": {"human_agreement": 0.7}}
    held = pass_with(tmp_path, tracking_uri, model, **rules)
    assert held["verdict"] == "hold" and "human_agreement was not measured" in held["reasons"][0]
    for agreed, verdict in ((30, "hold"), (38, "promote")):
        said = label(tmp_path, agreed)
        note = decide_with_labels(str(tmp_path), tracking_uri, "run-1", "m2")
        assert note is not None
        assert (note["verdict"], note["promoted"]) == (verdict, verdict == "promote")
        log_labels(str(tmp_path), tracking_uri, "run-1", "m2", read_manifest(said).metrics)
        run = client.get_model_version(registered_name, "1").tags[MLFLOW_RUN]
        assert client.get_run(run).data.metrics["human_agreement"] == agreed / LABELS
    assert champion(client, registered_name) == "1"


def test_labels_change_nothing_where_no_rule_asks_for_them(
    tmp_path: Path, tracking_uri: str, registered_name: str
) -> None:
    note = pass_with(tmp_path, tracking_uri, trained(tmp_path, registered_name, "m2"))
    label(tmp_path, 0)
    assert decide_with_labels(str(tmp_path), tracking_uri, "run-1", "m2") is None
    assert decide_with_labels(str(tmp_path), tracking_uri, "run-1", "m9") is None
    assert note["promoted"]


def label(root: Path, agreed: int) -> str:
    """A stage review of m2 in the journal of run-1, with so many of its labels that agree."""
    metric = "human_agreement"
    said = [
        Observation(id=f"{metric}/{n}", metric=metric, item=str(n), values=[float(n < agreed), 1.0])
        for n in range(LABELS)
    ]
    stage = Stage(str(root), "review", Settings(), {"labels": Parent(uri="people", digest=str(agreed))})
    stage.publish(Counts(), {"observations": said}, metrics={metric: agreed / LABELS})
    write_journal(str(root), "run-1", "stages", "m2/review", {"name": "m2/review", "uri": stage.uri})
    return stage.uri
