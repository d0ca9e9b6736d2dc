"""MLflow's client, and the names of our tags."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from components.errors import UserError

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

DIGEST, STAGE, MEASURED = "srlm.digest", "srlm.stage", "srlm.measured"
VERDICT, REASONS, GATE = "srlm.verdict", "srlm.verdict.reasons", "srlm.gate"
LONGEST_TAG = 5000  # MLflow's limit


def open_registry(tracking_uri: str) -> MlflowClient:
    """A client with little patience: MLflow's own (7 retries, doubling waits) would hold a run for minutes."""
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri)


def check_tracking(tracking_uri: str) -> None:
    """Raises UserError when the MLflow server cannot be reached at the start of a run."""
    from mlflow.exceptions import MlflowException

    try:
        open_registry(tracking_uri).search_experiments(max_results=1)
    except MlflowException as error:
        raise UserError(
            f"the MLflow server {tracking_uri} cannot be used ({first_line(error)})",
            "Start it or correct --tracking-uri, then run again.",
        ) from error


def find_alias(client: MlflowClient, name: str, alias: str) -> ModelVersion | None:
    """The version that an alias names; None where the model or the alias does not exist."""
    from mlflow.exceptions import MlflowException

    try:
        return client.get_model_version_by_alias(name, alias)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise


def first_line(error: Exception) -> str:
    return str(error).splitlines()[0][:200]
