"""The model registry: one registered model a recipe, one version a model, found again by its digest.

Every request may be the last that MLflow answers: what was begun is found and finished by the next call.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from components.core.model_files import model_prefix
from components.core.records import CurvePoint
from components.core.stage import read_manifest, read_records
from components.core.store import join
from components.registry.client import DIGEST, MEASURED, MLFLOW_RUN, RUN, STAGE, name_is, write

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric
    from mlflow.entities.model_registry import ModelVersion

METRICS_A_REQUEST = 1000  # MLflow's limit


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
    repeats, and by however many runs at once."""
    version = _find_version(client, model) or _create(client, model)
    _log_measurements(client, model, version)
    write(client.set_registered_model_alias, model.registered_name, model.alias, version.version)
    return client.get_model_version(model.registered_name, version.version)


def is_registered(client: MlflowClient, model: TrainedModel) -> bool:
    """Whether the model is there with these measurements, so that to register it would add nothing."""
    version = _find_version(client, model)
    return version is not None and version.tags.get(MEASURED) == json.dumps(list(model.measured))


def log_figures(client: MlflowClient, name: str, version: str, figures: Mapping[str, float]) -> None:
    """Add figures that came later to the metrics of a version's run in MLflow; nothing where it has no run."""
    from mlflow.entities import Metric

    run = client.get_model_version(name, version).tags.get(MLFLOW_RUN)
    if run:
        now = int(1000 * time.time())
        write(client.log_batch, run, metrics=[Metric(figure, value, now, 0) for figure, value in figures.items()])


def source_uri(uri: str) -> str:
    """Where the model folder lies inside its stage: what `models:/name@alias` gives back.

    An MLflow server refuses local paths (it might be made to read its own disk), so a folder's path gets a scheme that
    names it and that nobody downloads from.
    """
    folder = join(uri, model_prefix(uri))
    return folder if folder.startswith("s3://") else f"folder://{folder.removeprefix('file://')}"


def _find_version(client: MlflowClient, model: TrainedModel) -> ModelVersion | None:
    """The version with the model's digest; the oldest, should two runs have made one at the same time."""
    same = client.search_model_versions(f"{name_is(model.registered_name)} and tags.`{DIGEST}` = '{model.digest()}'")
    return min(same, key=lambda version: int(version.version), default=None)


def _create(client: MlflowClient, model: TrainedModel) -> ModelVersion:
    with _existing_is_fine():
        client.create_registered_model(model.registered_name, description="Made by Self-Rewarding Pipelines")
    manifest = read_manifest(model.uri)
    tags = {DIGEST: manifest.digest, RUN: model.run, STAGE: model.uri, "srlm.code": manifest.code}
    tags |= {f"srlm.parent.{role}": parent.uri for role, parent in manifest.parents.items()}
    created = write(client.create_model_version, model.registered_name, source=source_uri(model.uri), tags=tags)
    first = _find_version(client, model) or created
    if first.version != created.version:  # another run made one since we looked
        client.delete_model_version(model.registered_name, created.version)
    return first


def _log_measurements(client: MlflowClient, model: TrainedModel, version: ModelVersion) -> None:
    """An MLflow run with the metrics and the loss curve, once for each set of measurements."""
    measured = json.dumps(list(model.measured))
    if version.tags.get(MEASURED) == measured:
        return
    run, metrics = _find_or_create_run(client, model, measured), _metrics(model)
    for start in range(0, len(metrics), METRICS_A_REQUEST):
        write(client.log_batch, run, metrics=metrics[start : start + METRICS_A_REQUEST])
    write(client.set_terminated, run)
    for name, value in {MLFLOW_RUN: run, MEASURED: measured}.items():
        write(client.set_model_version_tag, model.registered_name, version.version, name, value)


def _find_or_create_run(client: MlflowClient, model: TrainedModel, measured: str) -> str:
    """The MLflow run of these measurements: a new one, or an earlier try's (to log the same again adds nothing)."""
    experiment, digest = _experiment(client, model.registered_name), model.digest()
    for run in client.search_runs([experiment], f"tags.`{DIGEST}` = '{digest}'"):
        if run.data.tags.get(MEASURED) == measured:
            return str(run.info.run_id)
    tags = {RUN: model.run, "srlm.model": model.alias, DIGEST: digest, MEASURED: measured}
    return str(client.create_run(experiment, run_name=f"{model.alias} ({model.run})", tags=tags).info.run_id)


def _experiment(client: MlflowClient, name: str) -> str:
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        with _existing_is_fine():
            return str(client.create_experiment(name))
        experiment = client.get_experiment_by_name(name)
    if experiment.lifecycle_stage == "deleted":
        client.restore_experiment(experiment.experiment_id)
    return str(experiment.experiment_id)


@contextmanager
def _existing_is_fine() -> Iterator[None]:
    """Make something that another run may have made a moment ago."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _metrics(model: TrainedModel) -> list[Metric]:
    """What was measured, what training noted at its end (`train_...`), and its curve (`train/...`, by step)."""
    from mlflow.entities import Metric

    training = {f"train_{name}": value for name, value in read_manifest(model.uri).metrics.items()}
    figures = [Metric(name, value, 0, 0) for name, value in (model.metrics() | training).items()]
    curve = [
        Metric(f"train/{name}", value, 0, point.step)
        for point in read_records(model.uri, "curve", CurvePoint)
        for name, value in point.values.items()
    ]
    return figures + curve
