"""A run of the pipeline in MLflow: one run with its recipe and its report, and nested in it one for each model.

Where Kubeflow's MLflow plugin (or somebody else) has opened a run for the step, MLFLOW_RUN_ID, that one takes the place
of ours, and no second tree is made. Who finds MLflow away makes up for it at the end (`end_run`).
"""

from __future__ import annotations

import json
import os
import posixpath
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from components.core.progress import warn
from components.registry.client import RUN, RegistryError, not_there, registry, write

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Param

KIND, PIPELINE = "srlm.kind", "run"
PARENT = "mlflow.parentRunId"
LONGEST_KEY, LONGEST_VALUE = 250, 500  # of a parameter; newer servers take values of 6,000
PARAMS_A_REQUEST = 100  # MLflow's limit
Recipe = Mapping[str, Any]


def begin_run(tracking_uri: str, name: str, run: str, recipe: Recipe, store: str) -> None:
    """Show that the run of the recipe `name` has begun, with its settings. MLflow away is no reason to stop."""
    try:
        with registry(tracking_uri) as client:
            _log_params(client, _ensure_run(client, name, run, store, time.time()), recipe)
    except RegistryError as error:
        warn(f"the run is not shown in MLflow until its end: {error.problem}")


def end_run(tracking_uri: str, name: str, run: str, recipe: Recipe, store: str, files: Mapping[str, str]) -> None:
    """The run with its settings, its models nested in it, and texts by file name; its time is from `begin_run` to now.

    MLflow's artifacts may lie in a store that it, or this process, cannot write to: whatever goes wrong is a warning.
    """
    own = ""
    try:
        with registry(tracking_uri) as client:
            own = _ensure_run(client, name, run, store, time.time())
            _log_params(client, own, recipe)
            for model in client.search_runs([experiment_of(client, name)], f"tags.`{RUN}` = '{run}'"):
                if PARENT not in model.data.tags and model.info.run_id != own:
                    write(client.set_tag, model.info.run_id, PARENT, own)
            if own != os.environ.get("MLFLOW_RUN_ID"):
                write(client.set_terminated, own)
            for file, text in files.items():
                client.log_text(own, text, file)
    except Exception as error:  # MLflow's; boto3's, Google's, a disk's: of whatever keeps its artifacts
        why = error.problem if isinstance(error, RegistryError) else f"{type(error).__name__}: {error}"
        warn(f"the run is not shown in MLflow{', or not with its report' * bool(own)}: {why}")


def parent_run(client: MlflowClient, name: str, run: str) -> str | None:
    """The MLflow run that those of the run's models are nested in; None where there is none yet."""
    from mlflow.exceptions import MlflowException

    if given := os.environ.get("MLFLOW_RUN_ID"):
        try:
            return str(client.get_run(given).info.run_id)
        except MlflowException as error:
            if not not_there(error):
                raise
    named = f"tags.`{RUN}` = '{run}' and tags.`{KIND}` = '{PIPELINE}'"
    found = client.search_runs([experiment_of(client, name)], named, max_results=1)
    return str(found[0].info.run_id) if found else None


def experiment_of(client: MlflowClient, name: str) -> str:
    """The id of the experiment that MLFLOW_EXPERIMENT_ID or MLFLOW_EXPERIMENT_NAME says, else of the one of the
    registered model's name, which is made where it is not there."""
    from mlflow.exceptions import MlflowException

    if given := os.environ.get("MLFLOW_EXPERIMENT_ID"):
        try:
            return str(client.get_experiment(given).experiment_id)
        except MlflowException as error:  # another server's
            if not not_there(error):
                raise
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or name
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        with existing_is_fine():
            return str(client.create_experiment(name))
        experiment = client.get_experiment_by_name(name)
    if experiment.lifecycle_stage == "deleted":
        client.restore_experiment(experiment.experiment_id)
    return str(experiment.experiment_id)


def params_of(settings: Recipe) -> list[Param]:
    """Settings as MLflow's parameters, `dpo.learning_rate`; a list is one value. What is too long is cut, and ends so
    that one sees it."""
    from mlflow.entities import Param

    def flattened(prefix: str, value: Any) -> Iterable[tuple[str, Any]]:
        if isinstance(value, dict) and (value or not prefix):
            for key, inner in value.items():
                yield from flattened(f"{prefix}.{key}" if prefix else str(key), inner)
        else:
            yield prefix, value

    params = []
    for key, value in flattened("", dict(settings)):
        key = "".join(sign if sign.isalnum() or sign in "_-. :/" else "_" for sign in key)[:LONGEST_KEY]
        key = key if posixpath.normpath(key) == key else key.replace("/", "_")  # it must name a file of its own
        text = value if isinstance(value, str) else json.dumps(value)
        params.append(Param(key, text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 1]}…"))
    return params


@contextmanager
def existing_is_fine() -> Iterator[None]:
    """Make something that another run may have made a moment ago."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _ensure_run(client: MlflowClient, name: str, run: str, store: str, now: float) -> str:
    if found := parent_run(client, name, run):
        return found
    tags = {RUN: run, KIND: PIPELINE, "srlm.folder": store}
    made = client.create_run(experiment_of(client, name), int(1000 * now), tags, run_name=run)
    return str(made.info.run_id)


def _log_params(client: MlflowClient, run_id: str, settings: Recipe) -> None:
    """Those that are not there: MLflow never changes one, and a run that is continued may have other settings now."""
    known = client.get_run(run_id).data.params
    missing = [param for param in params_of(settings) if param.key not in known]
    for start in range(0, len(missing), PARAMS_A_REQUEST):
        write(client.log_batch, run_id, params=missing[start : start + PARAMS_A_REQUEST])
