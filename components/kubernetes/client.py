"""The cluster that this process works on, and its refusals in words."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.errors import UserError

if TYPE_CHECKING:
    from kubernetes.client import AppsV1Api, AuthorizationV1Api, BatchV1Api, CoreV1Api, CustomObjectsApi

NAMESPACE_OF_THIS_POD = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


@dataclass(frozen=True)
class Cluster:
    """The parts of the API that we use, and the namespace of the runs. `inside` says that this process is a pod."""

    core: CoreV1Api
    apps: AppsV1Api
    batch: BatchV1Api
    authorization: AuthorizationV1Api
    custom: CustomObjectsApi
    namespace: str
    inside: bool

    def gone(self, delete: Callable[..., Any], *arguments: Any, **named: Any) -> bool:
        """Delete something; False where it was gone already."""
        from kubernetes.client import ApiException

        try:
            delete(*arguments, **named)
        except ApiException as error:
            if error.status != 404:
                raise
            return False
        return True


def connect(namespace: str = "") -> Cluster:
    """The cluster of this pod, else of the kubeconfig's current context. Raises UserError where there is none."""
    from kubernetes import client, config

    inside = NAMESPACE_OF_THIS_POD.exists()
    try:
        if inside:
            config.load_incluster_config()
            found = NAMESPACE_OF_THIS_POD.read_text().strip()
        else:
            config.load_kube_config()
            found = config.list_kube_config_contexts()[1]["context"].get("namespace", "default")
    except (config.ConfigException, OSError) as error:
        raise UserError(f"no cluster is configured ({error})", "Set KUBECONFIG, or log in to a cluster.") from error
    return Cluster(
        client.CoreV1Api(),
        client.AppsV1Api(),
        client.BatchV1Api(),
        client.AuthorizationV1Api(),
        client.CustomObjectsApi(),
        namespace or found,
        inside,
    )


@contextmanager
def explained(doing: str) -> Iterator[None]:
    """Turn the API's errors into a message for the user; `doing` says what was tried."""
    from kubernetes.client import ApiException
    from urllib3.exceptions import HTTPError

    try:
        yield
    except ApiException as error:
        raise UserError(f"{doing}: the cluster refuses it ({_message(error)})", _remedy(error.status)) from error
    except HTTPError as error:
        problem = f"{doing}: the cluster does not answer ({error})"
        raise UserError(problem, "Check KUBECONFIG and the network, then run again.") from error


def _message(error: Any) -> str:
    """What the API server says; for what is not allowed it names the verb and the resource."""
    try:
        return str(json.loads(error.body)["message"])
    except (TypeError, ValueError, KeyError):
        return f"{error.status} {error.reason}"


def _remedy(status: int) -> str:
    if status in (401, 403):
        return "Ask who runs the cluster for that permission; srlm doctor lists all that a run needs."
    return "Correct what it names, then run again."
