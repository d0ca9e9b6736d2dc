"""The model registry: one registered model a recipe, one version a model, found again by its digest."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from components.errors import UserError
from components.progress import warn
from components.records import CurvePoint
from components.stage import find_manifest, read_manifest, read_records
from components.step import read_journal, write_journal
from components.store import join

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric
    from mlflow.entities.model_registry import ModelVersion

DIGEST, EVALUATION = "srlm.digest", "srlm.evaluation"


@dataclass(frozen=True)
class TrainedModel:
    """A model of a run: its alias (sft, m1, ...), its stage, and the stage that measured it."""

    registered_name: str
    alias: str
    uri: str
    evaluation: str
    run: str
    tags: Mapping[str, str] = field(default_factory=dict)

    def metrics(self) -> dict[str, float]:
        return read_manifest(self.evaluation).metrics

    def digest(self) -> str:
        return read_manifest(self.uri).digest


def register(tracking_uri: str, model: TrainedModel) -> str | None:
    """Register the model with tags, metrics and its alias; returns the version.

    The same content is registered once, however often a run repeats. An unreachable server is no reason to stop a run:
    it warns and returns None, and the run's last step tries again.
    """
    from mlflow.exceptions import MlflowException

    try:
        client = _client(tracking_uri)
        version = _find(client, model) or _create(client, model)
        _note_evaluation(client, model, version)
        client.set_registered_model_alias(model.registered_name, model.alias, version.version)
    except MlflowException as error:
        warn(f"{model.alias} is not registered, {tracking_uri} does not answer as MLflow ({_first_line(error)})")
        return None
    return str(version.version)


def register_and_note(root: str, tracking_uri: str, model: TrainedModel) -> str | None:
    """Register the model and note it in the run's journal, for the summary; returns the version."""
    start, version = time.time(), register(tracking_uri, model)
    entry = {
        "name": model.alias,
        "uri": model.uri,
        "digest": model.digest(),
        "evaluation": model.evaluation,
        "registered_name": model.registered_name,
        "version": version,
        "metrics": model.metrics(),
        "started": start,
    }
    write_journal(root, model.run, "models", model.alias, entry)
    return version


def register_what_is_missing(root: str, tracking_uri: str, run: str) -> None:
    """Try again for the models of the run that MLflow did not take before."""
    for entry in read_journal(root, run, "models"):
        if not entry["version"]:
            model = TrainedModel(entry["registered_name"], entry["name"], entry["uri"], entry["evaluation"], run)
            register_and_note(root, tracking_uri, model)


def check_tracking(tracking_uri: str) -> None:
    """Raises UserError when the MLflow server cannot be reached at the start of a run."""
    from mlflow.exceptions import MlflowException

    try:
        _client(tracking_uri).search_experiments(max_results=1)
    except MlflowException as error:
        raise UserError(
            f"the MLflow server {tracking_uri} cannot be used ({_first_line(error)})",
            "Start it or correct --tracking-uri, then run again.",
        ) from error


def _client(tracking_uri: str) -> MlflowClient:
    # MLflow's own patience (7 retries, doubling waits) would hold a run for minutes before it says anything.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri)


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0][:200]


def _find(client: MlflowClient, model: TrainedModel) -> ModelVersion | None:
    found = client.search_model_versions(f"name = '{model.registered_name}' and tags.`{DIGEST}` = '{model.digest()}'")
    return found[0] if found else None


def _create(client: MlflowClient, model: TrainedModel) -> ModelVersion:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(model.registered_name, description="Made by Self-Rewarding Pipelines")
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    manifest = read_manifest(model.uri)
    tags = {DIGEST: manifest.digest, "srlm.run": model.run, "srlm.stage": model.uri, "srlm.code": manifest.code}
    tags |= {f"srlm.parent.{role}": parent.uri for role, parent in manifest.parents.items()}
    return client.create_model_version(
        model.registered_name, source=weights_uri(model.uri), tags={**tags, **model.tags}
    )


def weights_uri(uri: str) -> str:
    """Where the model folder lies inside its stage: what `models:/name@alias` gives back."""
    manifest = read_manifest(uri)
    return join(uri, next(name.split("/")[0] for name in manifest.files if name.startswith("files-")))


def _note_evaluation(client: MlflowClient, model: TrainedModel, version: ModelVersion) -> None:
    """An MLflow run with the metrics and the loss curve, once for each evaluation."""
    if version.tags.get(EVALUATION) == model.evaluation:
        return
    experiment = _experiment(client, model.registered_name)
    tags = {"srlm.run": model.run, "srlm.model": model.alias, DIGEST: model.digest(), EVALUATION: model.evaluation}
    run = client.create_run(experiment, run_name=f"{model.alias} ({model.run})", tags=tags)
    _log(client, run.info.run_id, model)
    client.set_terminated(run.info.run_id)
    version_tags = {EVALUATION: model.evaluation, "srlm.mlflow_run": run.info.run_id}
    for name, value in version_tags.items():
        client.set_model_version_tag(model.registered_name, version.version, name, value)


def _experiment(client: MlflowClient, name: str) -> str:
    experiment = client.get_experiment_by_name(name)
    return str(experiment.experiment_id) if experiment else str(client.create_experiment(name))


def _log(client: MlflowClient, run_id: str, model: TrainedModel) -> None:
    from mlflow.entities import Metric

    training = find_manifest(model.uri)
    figures = model.metrics() | {
        f"train_{name}": value for name, value in (training.metrics if training else {}).items()
    }
    metrics = [Metric(name, value, 0, 0) for name, value in figures.items()]
    metrics += [
        Metric(f"train/{name}", value, 0, point.step)
        for point in read_records(model.uri, "curve", CurvePoint)
        for name, value in point.values.items()
    ]
    for batch in _batches(metrics, 1000):  # MLflow's limit for one request
        client.log_batch(run_id, metrics=batch)


def _batches(items: Sequence[Metric], size: int) -> list[list[Metric]]:
    return [list(items[start : start + size]) for start in range(0, len(items), size)]
