"""What runs inside a cluster, reached from outside with a kubeconfig alone: kubectl forwards a port to it."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from base64 import b64decode
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from urllib.parse import urlsplit

from components.core.errors import UserError
from components.core.processes import free_ports
from components.core.store import store_environment
from components.kubernetes.client import Cluster, if_found, in_a_pod
from components.kubernetes.settings import ClusterSettings

KUBEFLOW = "kubeflow"  # the namespace of Kubeflow's own manifests
FORWARD_TIMEOUT_S = 30.0
KEPT_EVERY_S = 0.5
S3_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")


@contextmanager
def forwarded(namespace: str, service: str, port: int) -> Iterator[str]:
    """host:port on this machine that leads to a Service's port while the context lasts.

    kubectl ends with its connection to the pod or the API server; it is started again at the same port. Raises
    UserError where kubectl is missing or refuses.
    """
    kubectl = shutil.which("kubectl")
    if not kubectl:
        raise UserError(
            f"the service {service} in {namespace} can only be reached from within the cluster",
            "Install kubectl, which forwards a port to it, or name an address that can be reached from here.",
        )
    (local,) = free_ports(1)
    command = [kubectl, "port-forward", "--namespace", namespace, f"service/{service}", f"{local}:{port}"]
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=said)
        try:
            deadline = time.monotonic() + FORWARD_TIMEOUT_S
            while not _listens(local):
                if process.poll() is not None or time.monotonic() > deadline:
                    said.seek(0)
                    why = said.read().strip()[:300]
                    raise UserError(
                        f"no port can be forwarded to the service {service} in {namespace}: {why}",
                        f"Look at its pods: kubectl -n {namespace} describe service {service}.",
                    )
                time.sleep(0.05)
        except BaseException:
            process.kill()
            raise
        closed = threading.Event()
        keeper = threading.Thread(target=_keep, args=(process, command, closed), daemon=True)
        keeper.start()
        try:
            yield f"127.0.0.1:{local}"
        finally:
            closed.set()
            keeper.join()


def _keep(process: subprocess.Popen[bytes], command: Sequence[str], closed: threading.Event) -> None:
    """Have the process, or another of the same command, run until it is `closed`."""
    while not closed.wait(KEPT_EVERY_S):
        if process.poll() is not None:
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    process.terminate()
    process.wait()


def _listens(port: int) -> bool:
    with socket.socket() as asked:
        asked.settimeout(1.0)
        return asked.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def from_here(cluster: Cluster, url: str) -> Iterator[str]:
    """The address of a server as this machine can use it: forwarded where it is that of a Service."""
    service = None if in_a_pod() else _service(cluster, url)
    if service is None:
        yield url
        return
    with forwarded(*service) as local:
        yield f"{urlsplit(url).scheme}://{local}"


def _service(cluster: Cluster, url: str) -> tuple[str, str, int] | None:
    """Namespace, name and port of the Service behind `name`, `name.namespace` or `name.namespace.svc...`."""
    parts = urlsplit(url)
    name, namespace, *rest = [*(parts.hostname or "").split("."), ""][:3]
    if not re.fullmatch("[a-z][a-z0-9-]*", name) or name == "localhost" or rest not in ([], [""], ["svc"]):
        return None
    if if_found(cluster.core.read_namespaced_service, name, namespace or cluster.namespace) is None:
        return None  # a name of the network that this machine is in
    return namespace or cluster.namespace, name, parts.port or (443 if parts.scheme == "https" else 80)


def named_by_chart(cluster: Cluster, settings: ClusterSettings) -> dict[str, str]:
    """What the namespace's config map names for all runs: SRLM_STORE, SRLM_TRACKING_URI, AWS_ENDPOINT_URL_S3, ...;
    nothing where there is none."""
    found = if_found(cluster.core.read_namespaced_config_map, settings.config_map, cluster.namespace)
    return dict(found.data or {}) if found else {}


@contextmanager
def store_of_runs(cluster: Cluster, settings: ClusterSettings) -> Iterator[str]:
    """The store of the namespace's runs, "" where none is named; this process can read it while the context lasts.

    What its own environment says of S3 comes first. Raises UserError where it cannot be reached from here.
    """
    named = named_by_chart(cluster, settings)
    with ExitStack() as stack:
        if not (in_a_pod() or os.environ.get("AWS_ENDPOINT_URL_S3")):
            variables = {name: named[name] for name in ("AWS_REGION",) if name in named}
            if endpoint := named.get("AWS_ENDPOINT_URL_S3"):
                variables["AWS_ENDPOINT_URL_S3"] = stack.enter_context(from_here(cluster, endpoint))
            if not os.environ.get("AWS_ACCESS_KEY_ID"):
                variables |= _keys(cluster, settings.secret)
            stack.enter_context(store_environment(variables))
        yield os.environ.get("SRLM_STORE") or named.get("SRLM_STORE", "")


def _keys(cluster: Cluster, secret: str) -> dict[str, str]:
    """The store's keys; none where there is no such secret: a workload identity, say."""
    found = if_found(cluster.core.read_namespaced_secret, secret, cluster.namespace)
    data = (found.data or {}) if found else {}
    return {name: b64decode(data[name]).decode() for name in S3_KEYS if name in data}
