"""A training's curve arrives while it goes on, goes on in the same MLflow run, and never stops the training."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from mlflow import MlflowClient

from components.core.progress import STEP_EVENTS, emit_point
from components.core.stage import read_manifest
from components.registry import curve
from components.registry.curve import Training, logged_curve
from components.registry.registry import register
from components.registry.tracking import PARENT, begin_run
from tests.helpers.forwarder import Forwarder, forwarded
from tests.helpers.registered_models import trained
from tests.helpers.waiting import wait_until

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In a step, whose events are read often."""
    monkeypatch.setattr(curve, "SECONDS_BETWEEN_WRITES", 0.1)
    monkeypatch.setattr(curve, "SECONDS_AFTER_A_FAILURE", 0.1)
    monkeypatch.setenv(STEP_EVENTS, str(tmp_path / "events.jsonl"))


@pytest.fixture
def server(tracking_uri: str) -> Iterator[Forwarder]:
    with forwarded(tracking_uri) as forwarder:
        yield forwarder


@contextmanager
def training(uri: str, name: str, stage: str) -> Iterator[None]:
    with logged_curve(uri, Training(name, "run-1", "m2", stage)):
        yield


def point(step: int) -> None:
    emit_point(step, {"loss": 1 / step, "rewards/margins": step / 10, "held_out/accuracy": 0.5})


def points(client: MlflowClient, name: str, metric: str = "train/loss") -> dict[str, list[tuple[int, float]]]:
    """Steps and values by the name of the MLflow run."""
    experiment = client.get_experiment_by_name(name)
    runs = client.search_runs([experiment.experiment_id]) if experiment else []
    return {
        run.info.run_name: sorted((one.step, one.value) for one in client.get_metric_history(run.info.run_id, metric))
        for run in runs
    }


def test_points_arrive_while_training_goes_on(tracking_uri: str, client: MlflowClient, registered_name: str) -> None:
    """Before it has ended; nested in the run of the pipeline; with what is held out beside the loss."""
    begin_run(tracking_uri, registered_name, "run-1", {}, "folder")
    with training(tracking_uri, registered_name, "s3://bucket/dpo/it's one"):
        point(1)
        point(2)
        wait_until(lambda: points(client, registered_name).get("m2 (run-1)") == [(1, 1.0), (2, 0.5)])
        point(4)
    assert points(client, registered_name)["m2 (run-1)"] == [(1, 1.0), (2, 0.5), (4, 0.25)]
    assert points(client, registered_name, "train/held_out/accuracy")["m2 (run-1)"][-1] == (4, 0.5)
    experiment = client.get_experiment_by_name(registered_name)
    (run,) = client.search_runs([experiment.experiment_id], f"tags.`{PARENT}` != ''")
    assert run.info.status == "FINISHED"
    assert client.get_run(run.data.tags[PARENT]).info.run_name == "run-1"


def test_a_training_that_goes_on_from_a_checkpoint_goes_on_in_its_run(
    tracking_uri: str, client: MlflowClient, registered_name: str
) -> None:
    """It fails after step 3, and begins again after step 2: each step stands there once."""

    def failing() -> None:
        with training(tracking_uri, registered_name, "stage"):
            for step in (1, 2, 3):
                point(step)
            _ = 1 / 0

    with pytest.raises(ZeroDivisionError):
        failing()
    experiment = client.get_experiment_by_name(registered_name)
    assert [run.info.status for run in client.search_runs([experiment.experiment_id])] == ["FAILED"]
    with training(tracking_uri, registered_name, "stage"):
        for step in (3, 4):
            point(step)
    assert [step for step, _ in points(client, registered_name)["m2 (run-1)"]] == [1, 2, 3, 4]
    assert [run.info.status for run in client.search_runs([experiment.experiment_id])] == ["FINISHED"]


def test_mlflow_away_is_one_warning_and_what_it_missed_comes_later(
    server: Forwarder, client: MlflowClient, registered_name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    server.down_after(0)
    with training(server.uri, registered_name, "stage"):
        point(1)
        wait_until(lambda: "MLflow gets its curve later" in capsys.readouterr().err)
        point(2)
        server.down_after(float("inf"))
        wait_until(lambda: points(client, registered_name).get("m2 (run-1)") == [(1, 1.0), (2, 0.5)])
    assert "warning" not in capsys.readouterr().err


def test_the_model_is_registered_with_the_training_s_own_run(
    tracking_uri: str, client: MlflowClient, registered_name: str, tmp_path: Path
) -> None:
    """MLflow saw the first of two steps: the other comes from the stage, and the first is not there twice."""
    model = trained(tmp_path, registered_name, "m1")
    with training(tracking_uri, registered_name, model.uri):
        point(1)
    version = register(client, model)
    run, manifest = client.get_run(version.run_id), read_manifest(model.uri)
    assert points(client, registered_name) == {"m2 (run-1)": [(1, 1.0), (2, 0.5)]}
    assert run.data.metrics["train/final_loss"] == manifest.metrics["final_loss"]
    assert register(client, model).run_id == version.run_id


def test_what_is_finished_opens_no_run(tracking_uri: str, client: MlflowClient, registered_name: str) -> None:
    with training(tracking_uri, registered_name, "stage"):
        pass
    assert client.get_experiment_by_name(registered_name) is None
