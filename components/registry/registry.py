"""The model registry: one registered model a recipe, one version a model, found again by its digest."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from components.records import CurvePoint
from components.registry.client import DIGEST, MEASURED, STAGE
from components.stage import find_manifest, read_manifest, read_records
from components.store import join

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric
    from mlflow.entities.model_registry import ModelVersion


@dataclass(frozen=True)
class TrainedModel:
    """A model of a run: its alias (sft, m1, ...), its stage, and the stages that measured it."""

    registered_name: str
    alias: str
    uri: str
    measured: Sequence[str]
    run: str

    def metrics(self) -> dict[str, float]:
        return {name: value for uri in self.measured for name, value in read_manifest(uri).metrics.items()}

    def digest(self) -> str:
        return read_manifest(self.uri).digest


def register(client: MlflowClient, model: TrainedModel) -> ModelVersion:
    """Register the model with tags, metrics and its alias; the same content is registered once, however often a run
    repeats."""
    version = _find(client, model) or _create(client, model)
    _note_measurements(client, model, version)
    client.set_registered_model_alias(model.registered_name, model.alias, version.version)
    return client.get_model_version(model.registered_name, version.version)


def weights_uri(uri: str) -> str:
    """Where the model folder lies inside its stage: what `models:/name@alias` gives back."""
    manifest = read_manifest(uri)
    return join(uri, next(name.split("/")[0] for name in manifest.files if name.startswith("files-")))


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
    tags = {DIGEST: manifest.digest, "srlm.run": model.run, STAGE: model.uri, "srlm.code": manifest.code}
    tags |= {f"srlm.parent.{role}": parent.uri for role, parent in manifest.parents.items()}
    return client.create_model_version(model.registered_name, source=weights_uri(model.uri), tags=tags)


def _note_measurements(client: MlflowClient, model: TrainedModel, version: ModelVersion) -> None:
    """An MLflow run with the metrics and the loss curve, once for each set of measurements."""
    measured = json.dumps(list(model.measured))
    if version.tags.get(MEASURED) == measured:
        return
    experiment = _experiment(client, model.registered_name)
    tags = {"srlm.run": model.run, "srlm.model": model.alias, DIGEST: model.digest(), MEASURED: measured}
    run = client.create_run(experiment, run_name=f"{model.alias} ({model.run})", tags=tags)
    _log(client, run.info.run_id, model)
    client.set_terminated(run.info.run_id)
    version_tags = {"srlm.mlflow_run": run.info.run_id, MEASURED: measured}
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
