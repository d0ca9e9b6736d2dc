"""The MLflow run of a model: how it was trained, on what, its curve and everything that was measured.

It begins with the training, whose curve arrives while it goes on (curve.py), or else when the model is registered; its
time is the training's. To log the same once more changes nothing: who was interrupted does all of it again.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

from components.core.hashing import content_hash
from components.core.records import CurvePoint, Manifest
from components.core.stage import read_manifest, read_records
from components.registry.client import DIGEST, MEASURED, RUN, STAGE, write
from components.registry.metric_names import grouped
from components.registry.tracking import PARAMS_A_REQUEST, PARENT, experiment_of, params_of, parent_run

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput, Metric

METRICS_A_REQUEST = 900  # MLflow's limit is 1,000 of all kinds, of which 100 parameters
LONGEST_DIGEST = 36  # of a dataset
CURVE = "train/"
TRAINING = "srlm.training"  # a hash of the stage's URI, which may hold marks that a search does not take
SHOWN = ("win_rate", "lc_win_rate", "pairwise_accuracy", "parse_rate")  # in a version's description


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


def log_model(client: MlflowClient, model: TrainedModel, measured: str) -> str:
    """The id of the model's MLflow run with these measurements, complete and ended."""
    manifest = read_manifest(model.uri)
    run = _find_or_create(client, model, manifest, measured)
    known = {point.step for point in client.get_metric_history(run, f"{CURVE}loss")}
    metrics = _metrics(model, manifest, known)
    params = params_of(manifest.settings)[:PARAMS_A_REQUEST]
    write(client.log_batch, run, metrics=metrics[:METRICS_A_REQUEST], params=params)
    for start in range(METRICS_A_REQUEST, len(metrics), METRICS_A_REQUEST):
        write(client.log_batch, run, metrics=metrics[start : start + METRICS_A_REQUEST])
    if datasets := _datasets(manifest):
        write(client.log_inputs, run, datasets)
    write(client.set_terminated, run, end_time=_milliseconds(manifest))
    return run


def description(model: TrainedModel) -> str:
    """What a person reads beside the version: what it is, what it was made from, and its first figures."""
    manifest, metrics = read_manifest(model.uri), model.metrics()
    made_from = ", ".join(manifest.parents)
    kept = ", ".join(f"{number:,} {name}" for name, number in manifest.counts.kept.items() if name != "parameters")
    told = [f"{model.alias.upper()} of the run {model.run}: {manifest.stage} from {made_from or 'nothing'}"]
    told += [kept] if kept else []
    for name in SHOWN:
        if name in metrics:
            low, high = metrics.get(f"{name}_low"), metrics.get(f"{name}_high")
            interval = f" ({low:.3f} to {high:.3f})" if low is not None and high is not None else ""
            told.append(f"{name.replace('_', ' ')} {metrics[name]:.3f}{interval}")
    return "; ".join(told) + f". Its stage is {model.uri}."


def _find_or_create(client: MlflowClient, model: TrainedModel, manifest: Manifest, measured: str) -> str:
    """An earlier try's run, else that of the training, else a new one: with its tags in each case."""
    from mlflow.entities import RunTag

    experiment = experiment_of(client, model.registered_name)
    for run in client.search_runs([experiment], f"tags.`{DIGEST}` = '{manifest.digest}'"):
        if run.data.tags.get(MEASURED) == measured:
            return str(run.info.run_id)
    tags = {RUN: model.run, "srlm.model": model.alias, STAGE: model.uri, DIGEST: manifest.digest, MEASURED: measured}
    if training := training_run(client, experiment, model.uri):
        write(client.log_batch, training, tags=[RunTag(*tag) for tag in tags.items() if tag[0] != RUN])
        return training
    if parent := parent_run(client, model.registered_name, model.run):
        tags[PARENT] = parent
    start = _milliseconds(manifest) - int(1000 * manifest.seconds)
    return str(client.create_run(experiment, start, tags, f"{model.alias} ({model.run})").info.run_id)


def training_run(client: MlflowClient, experiment: str, stage: str) -> str | None:
    """The MLflow run that the training of this stage has opened, as long as no model was registered with it."""
    for run in client.search_runs([experiment], f"tags.`{TRAINING}` = '{content_hash(stage)}'"):
        if MEASURED not in run.data.tags:
            return str(run.info.run_id)
    return None


def _metrics(model: TrainedModel, manifest: Manifest, known: set[int]) -> list[Metric]:
    """What was measured, what training noted at its end (`train/...`), and what its MLflow run has not of its curve."""
    from mlflow.entities import Metric

    end, points = _milliseconds(manifest), read_records(model.uri, "curve", CurvePoint)
    measured = replace(model, measured=[uri for uri in model.measured if uri != model.uri])
    figures = grouped(measured.metrics()) | grouped(manifest.metrics, CURVE)
    steps = max((point.step for point in points), default=1)
    taken = 1000 * manifest.seconds  # nobody knows when each step was: as if they had come at equal distances
    curve = [
        Metric(f"{CURVE}{name}", value, int(end - taken * (1 - point.step / steps)), point.step)
        for point in points
        if point.step not in known
        for name, value in point.values.items()
    ]
    return [Metric(name, value, end, 0) for name, value in figures.items()] + curve


def _datasets(manifest: Manifest) -> list[DatasetInput]:
    """What the model was trained on: the stages that it was made from, but for the model that training started from."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    return [
        DatasetInput(
            Dataset(role, parent.digest[:LONGEST_DIGEST], "uri", json.dumps({"uri": parent.uri})),
            [InputTag("mlflow.data.context", "training")],
        )
        for role, parent in manifest.parents.items()
        if role not in ("base", "model", "judge")
    ]


def _milliseconds(manifest: Manifest) -> int:
    """When the stage was published, since 1970."""
    return int(1000 * datetime.fromisoformat(manifest.created).timestamp())
