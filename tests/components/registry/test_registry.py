"""Registering: once for each content, with everything that was measured, whatever happens in between."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow import MlflowClient

from components.registry.client import DIGEST, MEASURED, MLFLOW_RUN, RegistryError, check_tracking, name_is, registry
from components.registry.model_run import TrainedModel
from components.registry.registry import register
from tests.helpers.forwarder import forwarded
from tests.helpers.registered_models import measure, trained

pytestmark = pytest.mark.slow
NOBODY = "http://127.0.0.1:9"


def versions(client: MlflowClient, name: str) -> list[str]:
    return sorted(version.version for version in client.search_model_versions(f"name = '{name}'"))


def runs(client: MlflowClient, name: str) -> list[str]:
    experiment = client.get_experiment_by_name(name)
    assert experiment is not None
    return [run.info.run_id for run in client.search_runs([experiment.experiment_id])]


@pytest.fixture
def model(tmp_path: Path, registered_name: str) -> TrainedModel:
    return trained(tmp_path, registered_name, "m1", right=30)


def test_the_same_content_is_registered_once(client: MlflowClient, model: TrainedModel) -> None:
    first = register(client, model)
    again = register(client, replace(model, run="run-2"))
    assert (first.version, again.version) == ("1", "1")
    assert len(runs(client, model.registered_name)) == 1
    assert again.tags["srlm.run"] == "run-1"  # the run that made it
    assert again.tags[DIGEST] == model.digest()


def test_runs_that_register_the_same_at_once_make_one_version(client: MlflowClient, model: TrainedModel) -> None:
    with ThreadPoolExecutor(6) as threads:
        made = list(threads.map(lambda _: register(client, model).version, range(6)))
    assert set(made) == set(versions(client, model.registered_name))
    assert len(set(made)) == 1


def test_a_name_with_an_apostrophe_is_found_again(client: MlflowClient, model: TrainedModel) -> None:
    """In MLflow's searches quotation marks end a name."""
    named = replace(model, registered_name=f"{model.registered_name}'s own")
    assert [register(client, named).version for _ in range(2)] == ["1", "1"]
    assert [version.version for version in client.search_model_versions(name_is(named.registered_name))] == ["1"]
    with pytest.raises(RegistryError, match="cannot search for the name"):
        name_is("'\"")


def test_metrics_and_the_loss_curve_are_logged(client: MlflowClient, model: TrainedModel) -> None:
    """30 of 40 pairs are ordered as people did: 0.75; the curve is 1, 1/2 at the steps 1, 2."""
    run = register(client, model).tags[MLFLOW_RUN]
    metrics = client.get_run(run).data.metrics
    assert metrics["pairwise_accuracy"] == 0.75
    assert metrics["train/final_loss"] == 0.5
    curve = client.get_metric_history(run, "train/loss")
    assert [(point.step, point.value) for point in curve] == [(1, 1.0), (2, 0.5)]
    assert client.get_run(run).info.status == "FINISHED"


def test_new_measurements_of_a_known_model_are_logged_beside_the_old_ones(
    client: MlflowClient, model: TrainedModel, tmp_path: Path
) -> None:
    register(client, model)
    more = replace(model, measured=[measure(tmp_path, model.uri, 10, "other seeds")])
    version = register(client, more)
    assert version.version == "1"
    assert json.loads(version.tags[MEASURED]) == more.measured
    assert client.get_run(version.tags[MLFLOW_RUN]).data.metrics["pairwise_accuracy"] == 0.25
    assert len(runs(client, model.registered_name)) == 2


def test_an_alias_follows_the_last_run(client: MlflowClient, model: TrainedModel, tmp_path: Path) -> None:
    register(client, model)
    register(client, replace(trained(tmp_path, model.registered_name, "m2"), alias="m1"))
    assert client.get_model_version_by_alias(model.registered_name, "m1").version == "2"
    register(client, model)
    assert client.get_model_version_by_alias(model.registered_name, "m1").version == "1"


def test_the_parents_and_the_stage_stand_in_the_tags(client: MlflowClient, model: TrainedModel) -> None:
    version = register(client, model)
    assert version.tags["srlm.stage"] == model.uri
    assert version.tags["srlm.parent.messages"] == "s3://somebody-elses/messages.jsonl"
    assert version.source.startswith(f"folder://{model.uri}/files-")  # MLflow refuses the path itself


def test_an_experiment_that_somebody_deleted_comes_back(client: MlflowClient, model: TrainedModel) -> None:
    client.delete_experiment(client.create_experiment(model.registered_name))
    assert MLFLOW_RUN in register(client, model).tags


def test_a_server_that_is_down_is_named_with_the_cause(tracking_uri: str) -> None:
    with pytest.raises(RegistryError, match=rf"MLflow server {NOBODY} cannot be used \(.*Connection refused\)"):
        check_tracking(NOBODY)
    check_tracking(tracking_uri)


def test_another_server_than_mlflow_is_an_error_of_the_registry(tracking_uri: str) -> None:
    with forwarded(tracking_uri) as server:
        server.garbage = True
        with pytest.raises(RegistryError, match=server.uri):
            check_tracking(server.uri)


def test_an_error_of_ours_passes_through(tracking_uri: str) -> None:
    with pytest.raises(ZeroDivisionError), registry(tracking_uri):
        _ = 1 / 0
