"""What an MLflow user finds of a model: its training with settings and data, the run around it, and the way back."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow import MlflowClient

from components.core.stage import read_manifest
from components.registry.client import MLFLOW_RUN, RUN
from components.registry.metric_names import flat, grouped
from components.registry.model_run import TrainedModel
from components.registry.registry import register
from components.registry.tracking import PARENT, begin_run, end_run, params_of
from tests.helpers.registered_models import trained

RECIPE = {"name": "toy", "dpo": {"beta": 0.1, "lora": {"rank": 8}}, "gate": {"improve": {}}, "data": {"files": ["a"]}}


@pytest.fixture
def model(tmp_path: Path, registered_name: str) -> TrainedModel:
    return trained(tmp_path, registered_name, "m1", right=30)


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Text by file name, as MLflow would have put it into its store, which the server of these tests has not."""
    kept: dict[str, str] = {}
    monkeypatch.setattr(MlflowClient, "log_text", lambda client, run, text, file: kept.update({file: text}))
    return kept


def test_figures_stand_in_groups_and_are_read_back_whoever_logged_them() -> None:
    """Value, interval and items of a figure in one group; an older version's flat names are read as they are."""
    kept = {"win_rate": 0.5, "win_rate_low": 0.4, "win_rate_high": 0.6, "win_rate_items": 40.0, "answers_cut": 0.1}
    shown = {"win_rate/value": 0.5, "win_rate/low": 0.4, "win_rate/high": 0.6, "win_rate/items": 40.0}
    assert grouped(kept) == shown | {"answers_cut": 0.1}
    assert flat(grouped(kept)) == flat(kept) == kept
    assert grouped({"loss": 1.0, "margin": 2.0, "margin_items": 3.0}, "train/") == {
        **{"train/loss": 1.0, "train/margin/value": 2.0, "train/margin/items": 3.0}
    }


def test_settings_are_parameters_by_their_dotted_names_within_mlflow_s_limits() -> None:
    long = params_of({"a": {"b c!": "x" * 10_000, "n" * 300: 1}})
    assert {param.key: param.value for param in params_of(RECIPE)} == {
        **{"name": "toy", "dpo.beta": "0.1", "dpo.lora.rank": "8", "gate.improve": "{}", "data.files": '["a"]'}
    }
    assert [len(param.key) for param in long] == [6, 250] and long[0].key == "a.b c_"
    assert len(long[0].value) == 500 and long[0].value.endswith("…")
    # MLflow refuses what would be another file's name (issue 16)
    assert [one.key for one in params_of({"a": {"b/": 1, "c//d": 2, "e/f": 3}})] == ["a.b_", "a.c__d", "a.e/f"]


@pytest.mark.slow
def test_a_version_links_to_its_run_and_the_run_to_it(client: MlflowClient, model: TrainedModel) -> None:
    version = register(client, model)
    assert version.run_id == version.tags[MLFLOW_RUN]
    (back,) = client.search_model_versions(f"run_id = '{version.run_id}'")
    assert (back.name, back.version) == (model.registered_name, version.version)
    assert "M1 of the run run-1: sft from messages, weights" in version.description
    assert "pairwise accuracy 0.750" in version.description and model.uri in version.description


@pytest.mark.slow
def test_the_run_has_the_training_s_time_settings_and_data(client: MlflowClient, model: TrainedModel) -> None:
    run, manifest = client.get_run(register(client, model).run_id), read_manifest(model.uri)
    taken = (run.info.end_time - run.info.start_time) / 1000
    assert taken == pytest.approx(manifest.seconds, abs=0.002)
    data = {one.dataset.name: one.dataset for one in run.inputs.dataset_inputs}
    assert set(data) == {"messages", "weights"} and data["messages"].digest == "d0"
    assert json.loads(data["messages"].source) == {"uri": "s3://somebody-elses/messages.jsonl"}
    curve = client.get_metric_history(run.info.run_id, "train/loss")
    assert [point.timestamp for point in curve] == sorted(point.timestamp for point in curve)
    assert curve[-1].timestamp == run.info.end_time


@pytest.mark.slow
def test_models_are_nested_in_the_run_that_has_recipe_and_report(
    tracking_uri: str, client: MlflowClient, model: TrainedModel, files: dict[str, str]
) -> None:
    """m1 is registered while the run goes on, sft before it is there: the end makes up for it. To end twice is fine."""
    name, where = model.registered_name, (model.run, RECIPE, "folder")
    early = register(client, replace(model, alias="sft")).run_id
    begin_run(tracking_uri, name, *where)
    (own,) = client.search_runs([client.get_experiment_by_name(name).experiment_id], "tags.`srlm.kind` = 'run'")
    assert (own.info.status, own.info.run_name) == ("RUNNING", model.run)
    later = trained(Path(model.uri).parent.parent, name, "m2")
    nested = register(client, later).run_id
    for _ in range(2):
        end_run(tracking_uri, name, *where, {"report.html": "<p>it is better</p>", "summary.json": "{}"})
    ended = client.get_run(own.info.run_id)
    assert ended.info.status == "FINISHED" and ended.data.params["dpo.lora.rank"] == "8"
    assert {client.get_run(run).data.tags[PARENT] for run in (early, nested)} == {own.info.run_id}
    assert PARENT not in ended.data.tags
    assert files == {"report.html": "<p>it is better</p>", "summary.json": "{}"}


@pytest.mark.slow
def test_a_run_that_kubeflow_s_plugin_has_opened_is_used(
    tracking_uri: str, client: MlflowClient, model: TrainedModel, monkeypatch: pytest.MonkeyPatch, files: dict[str, str]
) -> None:
    """Its experiment, too; it is the plugin's to end. One of another server is not there: then there is our own."""
    experiment = client.create_experiment(f"plugin-{model.registered_name}")
    theirs = client.create_run(experiment, run_name="a step").info.run_id
    monkeypatch.setenv("MLFLOW_RUN_ID", theirs)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", experiment)
    begin_run(tracking_uri, model.registered_name, model.run, RECIPE, "folder")
    nested = client.get_run(register(client, model).run_id)
    end_run(tracking_uri, model.registered_name, model.run, RECIPE, "folder", {"recipe.yaml": "name: toy"})
    assert (nested.data.tags[PARENT], nested.info.experiment_id) == (theirs, experiment)
    assert client.get_run(theirs).info.status == "RUNNING" and client.get_run(theirs).data.params["name"] == "toy"
    assert len(client.search_runs([experiment])) == 2
    assert client.get_experiment_by_name(model.registered_name) is None
    monkeypatch.setenv("MLFLOW_RUN_ID", "0" * 32)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", "987654321")
    begin_run(tracking_uri, model.registered_name, "run-2", RECIPE, "folder")
    assert client.get_experiment_by_name(model.registered_name) is not None


@pytest.mark.slow
def test_the_experiment_may_have_another_name(
    client: MlflowClient, model: TrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", f"our-{model.registered_name}")
    run = client.get_run(register(client, model).run_id)
    assert client.get_experiment(run.info.experiment_id).name == f"our-{model.registered_name}"
    assert run.data.tags[RUN] == model.run


@pytest.mark.slow
def test_a_store_that_does_not_take_the_files_is_a_warning_after_all_the_rest(
    tracking_uri: str,
    client: MlflowClient,
    registered_name: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError("s3://somebody-elses")

    monkeypatch.setattr(MlflowClient, "log_text", refuse)
    end_run(tracking_uri, registered_name, "run-1", RECIPE, "folder", {"report.html": ""})
    said = capsys.readouterr().err
    assert "not shown in MLflow, or not with its report: PermissionError: s3://somebody-elses" in said
    (run,) = client.search_runs([client.get_experiment_by_name(registered_name).experiment_id])
    assert run.info.status == "FINISHED"


@pytest.mark.slow
def test_mlflow_away_is_a_warning_at_the_run_s_begin_and_end(
    tracking_uri: str, capsys: pytest.CaptureFixture[str]
) -> None:
    begin_run("http://127.0.0.1:9", "toy", "run-1", RECIPE, "folder")
    end_run("http://127.0.0.1:9", "toy", "run-1", RECIPE, "folder", {})
    assert capsys.readouterr().err.count("warning: the run is not shown in MLflow") == 2
