"""The model registry: one registered model a recipe, one version a model, found again by its digest.

Every request may be the last that MLflow answers: what was begun is found and finished by the next call.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from components.core.model_files import model_prefix
from components.core.stage import read_manifest
from components.core.store import join
from components.registry.client import DIGEST, MEASURED, MLFLOW_RUN, RUN, STAGE, name_is, require_numbers, write
from components.registry.metric_names import grouped
from components.registry.model_run import TrainedModel, description, log_model
from components.registry.tracking import existing_is_fine

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion


def register(client: MlflowClient, model: TrainedModel) -> ModelVersion:
    """Register the model with its MLflow run, tags, metrics and its alias; the same content is registered once, however
    often a run repeats, and by however many runs at once."""
    version, measured = find_version(client, model), json.dumps(list(model.measured))
    if version is None or version.tags.get(MEASURED) != measured:
        run = log_model(client, model, measured)
        version = version or _create(client, model, run)
        for name, value in {MLFLOW_RUN: run, MEASURED: measured}.items():
            write(client.set_model_version_tag, model.registered_name, version.version, name, value)
    write(client.set_registered_model_alias, model.registered_name, model.alias, version.version)
    return client.get_model_version(model.registered_name, version.version)


def is_registered(client: MlflowClient, model: TrainedModel) -> bool:
    """Whether the model is there with these measurements, so that to register it would add nothing."""
    version = find_version(client, model)
    return version is not None and version.tags.get(MEASURED) == json.dumps(list(model.measured))


def log_figures(client: MlflowClient, name: str, version: str, figures: Mapping[str, float]) -> None:
    """Add figures that came later to the metrics of a version's run in MLflow; nothing where it has no run."""
    from mlflow.entities import Metric

    run = client.get_model_version(name, version).tags.get(MLFLOW_RUN)
    if run:
        now, named = int(1000 * time.time()), grouped(figures)
        write(client.log_batch, run, metrics=[Metric(figure, value, now, 0) for figure, value in named.items()])


def source_uri(uri: str) -> str:
    """Where the model folder lies inside its stage: what `models:/name@alias` gives back.

    An MLflow server refuses local paths (it might be made to read its own disk), so a folder's path gets a scheme that
    names it and that nobody downloads from.
    """
    folder = join(uri, model_prefix(uri))
    return folder if folder.startswith("s3://") else f"folder://{folder.removeprefix('file://')}"


def find_version(client: MlflowClient, model: TrainedModel) -> ModelVersion | None:
    """The version with the model's digest; the oldest, should two runs have made one at the same time."""
    same = client.search_model_versions(f"{name_is(model.registered_name)} and tags.`{DIGEST}` = '{model.digest()}'")
    require_numbers(same)
    return min(same, key=lambda version: int(version.version), default=None)


def _create(client: MlflowClient, model: TrainedModel, run: str) -> ModelVersion:
    """A version that links to its MLflow run, where MLflow shows it in turn."""
    with existing_is_fine():
        client.create_registered_model(model.registered_name, description="Made by Self-Rewarding Pipelines")
    manifest = read_manifest(model.uri)
    tags = {DIGEST: manifest.digest, RUN: model.run, STAGE: model.uri, "srlm.code": manifest.code}
    tags |= {f"srlm.parent.{role}": parent.uri for role, parent in manifest.parents.items()}
    source, told = source_uri(model.uri), description(model)
    created = write(client.create_model_version, model.registered_name, source, run, tags, description=told)
    first = find_version(client, model) or created
    if first.version != created.version:  # another run made one since we looked
        client.delete_model_version(model.registered_name, created.version)
    return first
