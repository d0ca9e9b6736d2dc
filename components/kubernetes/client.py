"""The cluster's API; its errors in words."""

from __future__ import annotations

import json
import logging
import os
import random
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from components.core.errors import UserError
from components.core.progress import say, warn

if TYPE_CHECKING:
    from kubernetes.client import ApiClient, AppsV1Api, BatchV1Api, CoreV1Api, CustomObjectsApi

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
CONNECT_TIMEOUT_S, READ_TIMEOUT_S = 5, 60
PATIENCE_S = 300.0  # that a run's steps ask an API server again which is away; a person is told after a second
FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 10.0
TOLD_EVERY_S = 60.0
T = TypeVar("T")
_FORBIDDEN = re.compile(
    r'User "(?P<user>[^"]+)" cannot (?P<verb>\w+) resource "(?P<resource>[^"]+)" in API group "(?P<group>[^"]*)"'
)


class ClusterError(UserError):
    """The cluster cannot be reached, or refuses a request. `status` is HTTP's, 0 where nobody answered."""

    def __init__(self, problem: str, remedy: str, status: int = 0) -> None:
        super().__init__(problem, remedy)
        self.status = status

    @property
    def may_pass(self) -> bool:
        """Whether a later try may be answered: nobody did, or what did is overloaded, starts, or lacks a webhook."""
        return self.status in (0, 408, 429, 500, 502, 503, 504)


@dataclass(frozen=True)
class Cluster:
    """Its APIs, and the namespace in which we work. Every call raises ClusterError for what goes wrong."""

    namespace: str
    host: str
    api: ApiClient
    core: CoreV1Api
    apps: AppsV1Api
    batch: BatchV1Api
    custom: CustomObjectsApi


def connect(namespace: str = "", context: str = "", patience: float = 0.0) -> Cluster:
    """The cluster of KUBECONFIG, of the pod that we are in, or of ~/.kube/config, in this order (kubectl's).

    No request is made yet; each is tried again for `patience` seconds where a later try may be answered. Raises
    ClusterError where none of them names a cluster.
    """
    from kubernetes import client

    configuration, default = _configuration(context)
    api = _client(configuration, patience)
    return Cluster(
        namespace or default,
        configuration.host,
        api,
        client.CoreV1Api(api),
        client.AppsV1Api(api),
        client.BatchV1Api(api),
        client.CustomObjectsApi(api),
    )


def if_found(read: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """What the cluster has there; None where there is nothing, or it knows no such kind."""
    try:
        return read(*arguments, **named)
    except ClusterError as error:
        if error.status != 404:
            raise
        return None


def if_there(delete: Callable[..., Any], *arguments: Any, **named: Any) -> bool:
    """Delete something; False where there is nothing, or the cluster knows no such kind."""
    try:
        delete(*arguments, **named)
    except ClusterError as error:
        if error.status != 404:
            raise
        return False
    return True


def in_a_pod() -> bool:
    """Whether this process has a pod's service account."""
    return (SERVICE_ACCOUNT / "token").exists()


def _configuration(context: str) -> tuple[Any, str]:
    """The client's configuration and the namespace that comes with it."""
    from kubernetes import client, config
    from urllib3.util import Retry

    configuration = client.Configuration()
    configuration.retries = Retry(total=2, backoff_factor=0.5)
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # a line for each retry helps nobody
    file = os.environ.get("KUBECONFIG") or None  # the library looks once, when it is imported
    try:
        if not file and not context and in_a_pod():
            config.load_incluster_config(client_configuration=configuration)
            return configuration, (SERVICE_ACCOUNT / "namespace").read_text().strip()
        config.load_kube_config(file, context or None, client_configuration=configuration)
        contexts, active = config.list_kube_config_contexts(file)
    except (config.ConfigException, OSError) as error:
        raise ClusterError(
            f"no cluster is known here ({error})",
            "Point KUBECONFIG at a file that kubectl can use, or run this in a pod.",
        ) from error
    used = next((known for known in contexts if known["name"] == context), active)
    return configuration, used["context"].get("namespace") or "default"


def _client(configuration: Any, patience: float) -> Any:
    """The library's client, with timeouts, with patience, and with errors for people."""
    from kubernetes.client import ApiClient
    from kubernetes.client.rest import ApiException
    from urllib3.exceptions import HTTPError

    class ExplainingClient(ApiClient):
        def call_api(self, resource_path: str, method: str, *arguments: Any, **named: Any) -> Any:
            streams = named.get("_preload_content") is False  # a log that is followed may be silent for long
            limit = (CONNECT_TIMEOUT_S, None if streams else READ_TIMEOUT_S)
            named["_request_timeout"] = named.get("_request_timeout") or limit
            return patiently(lambda: self._call(resource_path, method, *arguments, **named), patience)

        def _call(self, *arguments: Any, **named: Any) -> Any:
            try:
                return super().call_api(*arguments, **named)
            except ApiException as error:
                raise _refused(error.status, error.reason, error.body) from error
            except HTTPError as error:
                cause = str(error).rpartition("Caused by ")[2]
                raise ClusterError(
                    f"the cluster at {configuration.host} does not answer ({cause[:300]})",
                    "Check that it is up and reachable from here (VPN, proxy), and that KUBECONFIG names the right "
                    "one.",
                ) from error

    return ExplainingClient(configuration)


def patiently(request: Callable[[], T], patience: float) -> T:
    """What a request returns, tried again for `patience` seconds while its ClusterError may pass; told as it goes.

    One error is no verdict: API servers are upgraded, control planes grow, webhooks start (issue 14).
    """
    started = time.monotonic()
    tries, told = 0, 0.0
    while True:
        try:
            answer = request()
        except ClusterError as error:
            away = time.monotonic() - started
            if not error.may_pass or away >= patience:
                raise
            if not tries or away - told >= TOLD_EVERY_S:
                told = away
                warn(f"{error.problem}; asking again for {patience - away:.0f} s")
            tries += 1
            longest = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2**tries, patience - away)
            time.sleep(random.uniform(longest / 2, longest))  # the steps of many runs do not come at once
        else:
            if tries:
                say(f"the cluster answers again, after {time.monotonic() - started:.0f} s")
            return answer


def _refused(status: int, reason: str | None, body: str | bytes | None) -> ClusterError:
    """An answer that is an error, in words: what was missing where the API tells it."""
    message = message_of(body) or reason or f"HTTP {status}"
    if status == 401:
        return ClusterError(
            f"the cluster does not know who we are ({message})",
            "Log in again (kubectl auth whoami shows who you are), or renew the token in KUBECONFIG.",
            status,
        )
    forbidden = _FORBIDDEN.search(message)
    if status == 403 and forbidden:
        group = f".{forbidden['group']}" if forbidden["group"] else ""
        namespace = re.search(r'in the namespace "([^"]+)"', message)
        scope = f"in the namespace {namespace[1]}" if namespace else "in the whole cluster"
        return ClusterError(
            f"{forbidden['user']} may not {forbidden['verb']} {forbidden['resource']}{group} {scope}",
            "Use the chart's service account, or have its Role bound to this user; srlm doctor --only permissions "
            "lists what a run needs.",
            status,
        )
    remedy = {404: "Check the name and the namespace (--namespace).", 403: "Change what it complains about."}
    return ClusterError(f"the cluster refuses: {message}", remedy.get(status, "Correct it, then try again."), status)


def message_of(body: str | bytes | None) -> str:
    """The message of an answer that is an object with one (Kubernetes' Status, Kubeflow's errors); else the text."""
    text = body.decode(errors="replace") if isinstance(body, bytes) else body or ""
    try:
        status = json.loads(text)
    except json.JSONDecodeError:
        return text.strip()[:300]
    return str(status.get("message", "")) if isinstance(status, dict) else text[:300]
