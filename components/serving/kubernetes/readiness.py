"""Wait until a model's server is ready, and give up as soon as Kubernetes knows why it cannot come."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from components.core.errors import UserError
from components.kubernetes.client import Cluster, ClusterError, if_found
from components.kubernetes.diagnosis import FailureKind, diagnose
from components.kubernetes.events import diagnose_creation
from components.kubernetes.wait import Wait, WaitPolicy, remedies
from components.serving.kubernetes.launch import PORT
from components.serving.kubernetes.manifests import ModelServer

if TYPE_CHECKING:
    from components.serving.settings import ServingSettings

POLL_INTERVAL_S = 1.0
LOG_LINES = 5
REGISTRY_TIMEOUT_S = 20.0  # that a registry may fail to answer


def is_ready(cluster: Cluster, server: ModelServer) -> bool:
    """Whether a Deployment of that name has all its replicas."""
    found = if_found(cluster.apps.read_namespaced_deployment, server.object_name, cluster.namespace)
    return found is not None and _ready(found, server.settings.replicas)


def replica_urls(cluster: Cluster, server: ModelServer, port: int = PORT) -> list[str]:
    """Where each replica that is ready can be asked by itself: a Service would give a connection to any of them."""
    urls = []
    for pod in _pods(cluster, server):
        conditions = {condition.type: condition.status for condition in pod.status.conditions or ()}
        if pod.status.pod_ip and conditions.get("Ready") == "True" and not pod.metadata.deletion_timestamp:
            ip = pod.status.pod_ip
            urls.append(f"http://[{ip}]:{port}" if ":" in ip else f"http://{ip}:{port}")
    return sorted(urls)


def wait_until_ready(cluster: Cluster, server: ModelServer, again: bool = False) -> None:
    """Returns when every replica is ready; raises UserError with the reason in words when that cannot be.

    `again` is for one that has been ready before, or lost its pod while it started.
    """
    wait = Wait(cluster, _policy(server.settings, again), server.name, f"{server.name} cannot be served")
    while not _poll(cluster, server, wait):
        time.sleep(POLL_INTERVAL_S)


def _policy(settings: ServingSettings, again: bool) -> WaitPolicy:
    """A server that ends while it starts would do so again and again, and nobody else frees what refuses its pod.

    One that has shown that it can start may take as long as a start: for the node, or the quota, that another took.
    """
    own: dict[FailureKind, str] = {
        "image": "Correct the image (engine_image, worker_image) or the cluster's access to its registry.",
        "config": "Correct the objects that cluster.* of the recipe names.",
        "out_of_memory": "Raise serving.pod.memory, or lower serving.max_batch and serving.max_total_tokens.",
        "crash": "Its log says why; serving.arguments and serving.quantize go to the launcher.",
    }
    first: dict[FailureKind, float] = {"crash": 0.0, "quota": 0.0, "admission": 0.0, "image": REGISTRY_TIMEOUT_S}
    first |= {"unschedulable": settings.schedule_timeout}
    return WaitPolicy(
        limits=dict.fromkeys(first, float(max(settings.start_timeout, settings.schedule_timeout))) if again else first,
        remedies={**remedies("serving.pod", "serving.schedule_timeout"), **own},
        other_remedy="kubectl describe pod says more.",
        timeout_s=settings.start_timeout,
        timeout_remedy="Raise serving.start_timeout, or see kubectl describe pod and kubectl logs.",
        log_lines=LOG_LINES,
    )


def _poll(cluster: Cluster, server: ModelServer, wait: Wait) -> bool:
    """Whether the server is ready now; raises what ends the wait."""
    name, namespace = server.object_name, cluster.namespace
    try:
        deployment = cluster.apps.read_namespaced_deployment(name, namespace)
    except ClusterError as error:
        if error.status != 404:
            raise
        raise UserError(f"the server {name} was removed while it was waited for", "Run again to continue.") from error
    if _ready(deployment, server.settings.replicas):
        return True
    found = [(diagnose(pod), pod) for pod in _pods(cluster, server)]
    lost = [failure.text for failure, _ in found if failure and failure.kind == "evicted"]
    if lost:
        wait.policy = _policy(server.settings, again=True)
    pods = [
        (failure, pod)
        for failure, pod in found
        if not pod.metadata.deletion_timestamp and (failure is None or failure.kind != "evicted")
    ]
    refusal = diagnose_creation(deployment)
    failures = [(refusal, None)] if refusal else []
    failures += [(failure, pod) for failure, pod in pods if failure]
    least_advanced = min((_phase(pod) for _, pod in pods), default=(0, "waiting for a pod"))
    wait.check(failures, least_advanced[1], [f"{text}; another takes its place" for text in lost])
    return False


def _pods(cluster: Cluster, server: ModelServer) -> list[Any]:
    chosen = ",".join(f"{label}={value}" for label, value in server.labels.items())
    listed: list[Any] = cluster.core.list_namespaced_pod(cluster.namespace, label_selector=chosen).items
    return listed


def _ready(deployment: Any, replicas: int) -> bool:
    """Whether all replicas are there, and none of an earlier form of a Deployment that rolls."""
    status = deployment.status
    current = (status.observed_generation or 0) >= deployment.metadata.generation
    updated, available = status.updated_replicas or 0, status.available_replicas or 0
    return current and min(updated, available) >= replicas and (status.replicas or 0) <= updated


def _phase(pod: Any) -> tuple[int, str]:
    """How far a pod is, as a number and in words."""
    weights = (pod.status.init_container_statuses or [None])[0]
    if not pod.spec.node_name:
        return 1, "waiting for a node"
    if weights is None or weights.state.waiting:
        return 2, "pulling images"
    if weights.state.running:
        return 3, "fetching weights"
    server = next((one for one in pod.status.container_statuses or () if one.name == "server"), None)
    if server is None or server.state.waiting:
        return 4, "pulling the engine's image"
    return 5, "loading the model"
