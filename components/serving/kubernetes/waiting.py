"""Wait for a server, and give up as soon as Kubernetes knows why it cannot come."""

from __future__ import annotations

import math
import time
from typing import Any

from components.core.errors import UserError
from components.core.progress import say
from components.kubernetes.client import Cluster, ClusterError
from components.kubernetes.events import node_is_coming
from components.kubernetes.labels import selector
from components.kubernetes.troubles import Trouble, last_log_lines, refusal_of, trouble_of
from components.serving.kubernetes.manifests import Server, server_name

POLL_SECONDS = 1.0
LOG_LINES = 5
PULL_PATIENCE = 20  # seconds that a registry may fail to answer
REMEDIES = {
    "unschedulable": "Free or add such a node, ask for less in serving.pod, or raise serving.schedule_timeout.",
    "image": "Correct the image (engine_image, worker_image) or the cluster's access to its registry.",
    "config": "Correct the objects that cluster.* of the recipe names.",
    "out_of_memory": "Raise serving.pod.memory, or lower serving.max_batch and serving.max_total_tokens.",
    "quota": "Ask for less in serving.pod, or have the namespace's quota raised.",
    "admission": "Change serving.pod, or the namespace's rules.",
    "crash": "Its log says why; serving.arguments and serving.quantize go to the launcher.",
}


def is_ready(cluster: Cluster, server: Server) -> bool:
    """Whether a Deployment of that name has all its replicas."""
    try:
        found = cluster.apps.read_namespaced_deployment(server_name(server.run, server.name), cluster.namespace)
    except ClusterError as error:
        if error.status != 404:
            raise
        return False
    return _ready(found, server.settings.replicas)


def wait_until_ready(cluster: Cluster, server: Server) -> None:
    """Returns when every replica is ready; raises UserError with the reason in words when that cannot be."""
    wait = Wait(cluster, server)
    while not wait.look():
        time.sleep(POLL_SECONDS)


class Wait:
    """What was seen of one server, and for how long."""

    def __init__(self, cluster: Cluster, server: Server) -> None:
        self.cluster, self.server = cluster, server
        self.name = server_name(server.run, server.name)
        self.started = time.monotonic()
        self._troubled_since: float | None = None
        self._said = ""

    def look(self) -> bool:
        """Whether the server is ready now."""
        deployment = self._deployment()
        if _ready(deployment, self.server.settings.replicas):
            return True
        if refusal := refusal_of(deployment):
            raise self._failure(refusal)
        pods = self._pods()
        for pod in pods:
            if trouble := trouble_of(pod):
                self._consider(trouble, pod)
        if not any(map(trouble_of, pods)):
            self._troubled_since = None
            self._tell(_phase(pods))
        if time.monotonic() - self.started > self.server.settings.start_timeout:
            raise UserError(
                f"{self.server.name} was not ready after {self.server.settings.start_timeout} s ({self._said})",
                "Raise serving.start_timeout, or see kubectl describe pod and kubectl logs.",
            )
        return False

    def _deployment(self) -> Any:
        try:
            return self.cluster.apps.read_namespaced_deployment(self.name, self.cluster.namespace)
        except ClusterError as error:
            if error.status != 404:
                raise
            raise UserError(
                f"the server {self.name} was removed while it was waited for", "Run again to continue."
            ) from error

    def _pods(self) -> list[Any]:
        chosen = selector("model-server", self.server.run, self.server.name)
        pods = self.cluster.core.list_namespaced_pod(self.cluster.namespace, label_selector=chosen).items
        return [pod for pod in pods if not pod.metadata.deletion_timestamp]

    def _consider(self, trouble: Trouble, pod: Any) -> None:
        """A server that ends while it starts would do so again and again; what may pass by itself is waited for."""
        if trouble.final or trouble.kind == "crash":
            raise self._failure(trouble, pod)
        self._tell(trouble.text)
        if trouble.kind in ("unschedulable", "queued"):
            self.started = time.monotonic()  # its own time has not begun
        self._troubled_since = self._troubled_since or time.monotonic()
        if time.monotonic() - self._troubled_since > self._patience(trouble, pod):
            raise self._failure(trouble, pod)

    def _patience(self, trouble: Trouble, pod: Any) -> float:
        """Seconds. Nodes come free within `serving.schedule_timeout` or are added; queues move when they move."""
        if trouble.kind == "unschedulable" and not node_is_coming(self.cluster, pod):
            return self.server.settings.schedule_timeout
        return PULL_PATIENCE if trouble.kind == "image" else math.inf

    def _failure(self, trouble: Trouble, pod: Any = None) -> UserError:
        remedy = REMEDIES.get(trouble.kind, "kubectl describe pod says more.")
        log: list[str] = []
        if pod is not None and trouble.container:
            log = last_log_lines(self.cluster.core, pod, trouble.container, LOG_LINES)
        shown = "".join(f"\n  {line}" for line in log)
        return UserError(f"{self.server.name} cannot be served: {trouble.text}{shown}", remedy)

    def _tell(self, phase: str) -> None:
        if phase != self._said:
            say(f"{self.server.name}: {phase} ({time.monotonic() - self.started:.0f} s)")
            self._said = phase


def _ready(deployment: Any, replicas: int) -> bool:
    status = deployment.status
    current = (status.observed_generation or 0) >= deployment.metadata.generation
    return current and (status.updated_replicas or 0) >= replicas and (status.available_replicas or 0) >= replicas


def _phase(pods: list[Any]) -> str:
    """What the least advanced pod does."""
    return min((_doing(pod) for pod in pods), default=(0, "waiting for a pod"))[1]


def _doing(pod: Any) -> tuple[int, str]:
    weights = (pod.status.init_container_statuses or [None])[0]
    if not pod.spec.node_name:
        return 1, "waiting for a node"
    if weights is None or weights.state.waiting:
        return 2, "pulling images"
    if weights.state.running:
        return 3, "fetching weights"
    server = (pod.status.container_statuses or [None])[0]
    if server is None or server.state.waiting:
        return 4, "pulling the engine's image"
    return 5, "loading the model"
