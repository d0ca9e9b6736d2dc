"""MLflow's client, and the names of our tags."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from components.core.errors import UserError
from components.core.proxies import ask_directly

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

DIGEST, STAGE, MEASURED = "srlm.digest", "srlm.stage", "srlm.measured"
RUN, MLFLOW_RUN = "srlm.run", "srlm.mlflow_run"
VERDICT, REASONS, GATE = "srlm.verdict", "srlm.verdict.reasons", "srlm.gate"
LONGEST_TAG = 5000  # older MLflow servers refuse more, newer ones take 100,000
Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
MAX_WRITES = 6  # tries of one write


class RegistryError(UserError):
    """The MLflow server cannot be reached, or does not do what it is asked."""


@contextmanager
def registry(tracking_uri: str) -> Iterator[MlflowClient]:
    """A client for the work inside the block; raises RegistryError for whatever goes wrong between it and the server.

    It gives up sooner than MLflow does by default: 7 retries with doubling waits would hold a run for minutes.
    """
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
    ask_directly(tracking_uri)
    from google.protobuf.json_format import ParseError
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    try:
        yield MlflowClient(tracking_uri)
    except (MlflowException, json.JSONDecodeError, ParseError) as error:  # the latter two: another server answers there
        if other := database_of_another(str(error), tracking_uri):
            raise other from error
        cause = _root_cause(error)
        raise RegistryError(f"the MLflow server {tracking_uri} cannot be used ({cause})", _remedy(cause)) from error


def check_tracking(tracking_uri: str) -> None:
    """Raises RegistryError when the MLflow server cannot be used at the start of a run."""
    with registry(tracking_uri) as client:
        client.search_experiments(max_results=1)


def find_alias(client: MlflowClient, name: str, alias: str) -> ModelVersion | None:
    """The version that an alias names; None where the model or the alias does not exist."""
    from mlflow.exceptions import MlflowException

    try:
        version = client.get_model_version_by_alias(name, alias)
    except MlflowException as error:
        if not_there(error):
            return None
        raise
    require_numbers([version])
    return version


def require_numbers(versions: Iterable[ModelVersion]) -> None:
    """Raises RegistryError for a version without a number: what an object without fields is read as (issue 16)."""
    if unnumbered := [repr(one.version) for one in versions if not str(one.version).isdecimal()]:
        raise RegistryError(
            f"the registry gives a version whose number is {unnumbered[0]}",
            "Look whether it is MLflow that answers at --tracking-uri, then run again.",
        )


def name_is(name: str) -> str:
    """The condition of a search that finds this name, whichever quotation marks it holds itself."""
    mark = '"' if "'" in name else "'"
    if mark in name:
        raise RegistryError(f"MLflow cannot search for the name {name}", "Choose one without quotation marks.")
    return f"name = {mark}{name}{mark}"


def write(request: Callable[Arguments, Result], *arguments: Arguments.args, **named: Arguments.kwargs) -> Result:
    """Send a request that writes; again, should it have collided with another client's.

    MLflow looks whether a row is there and then inserts it: of two clients that set the same new tag or alias at once
    one gets its database's complaint (BAD_REQUEST), and nothing of its request was written.
    """
    from mlflow.exceptions import MlflowException

    for attempt in range(1, MAX_WRITES):
        try:
            return request(*arguments, **named)
        except MlflowException as error:
            if error.error_code != "BAD_REQUEST":
                raise
        time.sleep(0.05 * attempt)
    return request(*arguments, **named)


def not_there(error: Exception) -> bool:
    """Whether MLflow says that there is no such thing; an unknown alias is an invalid parameter to it."""
    return getattr(error, "error_code", "") in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")


def _remedy(cause: str) -> str:
    """What to do about a server that wants a login, or whose authority is not known here; else to look at it."""
    if re.search(r"error code 40[13]\b", cause):
        return (
            "Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD (or MLFLOW_TRACKING_TOKEN) of a user who may; "
            "pods take them from a Secret that the recipe names in cluster.environment.secrets."
        )
    if "certificate" in cause.lower():
        return (
            "Set REQUESTS_CA_BUNDLE to a file with the certificate of the authority that signed the server's; "
            "pods find it by the recipe's cluster.environment.ca_bundle."
        )
    return "Start it or correct --tracking-uri, then run again."


def database_of_another(said: str, uri: str) -> RegistryError | None:
    """What MLflow says of a database that another version of it has written, with the command; None for all else."""
    schemas = re.search(r"out-of-date database schema \(found version (\w+), but expected (\w+)\)", said)
    if schemas is None:
        return None
    return RegistryError(
        f"the registry's database {uri} was written by another version of MLflow (its schema is {schemas[1]}, "
        f"this one's {schemas[2]})",
        f"Copy the database, then run mlflow db upgrade {uri} (docs/operations.md, Upgrade). "
        "Where that cannot locate the revision, a newer MLflow has written it: install that one.",
    )


def _root_cause(error: Exception) -> str:
    """What happened, in one line: an error of the connection stands at the end of MLflow's long message."""
    text = " ".join(str(error).split())
    _, caused, cause = text.rpartition("Caused by ")
    connection = re.match(r"\w+\((.*)\)\)$", cause) if caused else None
    return (connection[1].rpartition(": ")[2].strip("\"'") if connection else text)[:200] or type(error).__name__
