"""A model's server on Kubernetes as plain manifests: a Deployment, whose init container fetches weights; a Service."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from components.core.errors import UserError
from components.kubernetes.objects import KEEP, NO_SIDECAR, QUEUE, labels, object_name
from components.kubernetes.pods import (
    CONTAINER_SECURITY,
    asked_environment,
    environment_sources,
    of_node,
    pod_skeleton,
    resources,
    scratch_volume,
    shared_memory,
    temporary_volume,
    with_authorities,
    working_in,
)
from components.kubernetes.settings import ClusterSettings, PodSettings, ScratchVolume
from components.kubernetes.shape import shaped
from components.serving.kubernetes.launch import (
    ADAPTERS_PORT,
    LAUNCHES,
    MODEL,
    PORT,
    RUN_TIME_ADAPTERS,
    ServedModel,
)

if TYPE_CHECKING:
    from components.serving.settings import ServingSettings

CACHE, SCRATCH, SHARED_MEMORY = "/models", "/tmp", "/dev/shm"  # noqa: S108  volumes of the pod
PROBE_PERIOD_S = 5
Manifest = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class ModelServer(ABC):
    """One model to serve under a name, and with what: for the time of a run, or deployed (deployed.py)."""

    name: str
    engine: str
    model: ServedModel
    settings: ServingSettings
    cluster: ClusterSettings
    worker_image: str
    engine_image: str

    @property
    @abstractmethod
    def object_name(self) -> str:
        """Of Deployment and Service."""

    @property
    @abstractmethod
    def labels(self) -> dict[str, str]:
        """Of Deployment, Service and pods, by which they are found."""

    @property
    def environment(self) -> list[Manifest]:
        """Variables of both containers that `model` refers to."""
        return []


@dataclass(frozen=True, kw_only=True)
class Server(ModelServer):
    """A model of a run. `owner` goes into ownerReferences: the server goes when it does."""

    run: str
    owner: Mapping[str, Any] | None = None

    @property
    def object_name(self) -> str:
        return server_name(self.run, self.name)

    @property
    def labels(self) -> dict[str, str]:
        return labels("model-server", self.run, self.name)

    @property
    def metadata(self) -> Manifest:
        owners = {"ownerReferences": [dict(self.owner)]} if self.owner else {}
        annotations = {"self-rewarding-pipelines/model-uri": self.model.uri}
        return {"name": self.object_name, "labels": self.labels, "annotations": annotations, **owners}


def server_name(run: str, name: str) -> str:
    """Of Deployment and Service: a DNS label (at most 63 characters) that tells run and model."""
    return object_name(run, name, longest=36)


def require_fetchable(uri: str) -> None:
    """Raises UserError for a model that no pod of a cluster can fetch."""
    if not uri.startswith("s3://"):
        raise UserError(f"a server on a cluster cannot fetch {uri}", "Use an s3:// store, which its pod can reach.")


def deployment(server: Server) -> Manifest:
    """The Deployment of a run's model."""
    strategy = {"type": "Recreate"}  # a second server would wait for the GPU of the first
    return deployment_of(server, server.metadata, strategy, KEEP, pod_spec(server))


def deployment_of(
    server: ModelServer, metadata: Manifest, strategy: Manifest, annotations: Manifest, spec: Manifest
) -> Manifest:
    """A Deployment; at most `serving.start_timeout` passes before it counts as failed. `annotations` and `spec` are its
    pods', before the recipe shapes them."""
    marks = pod_labels(server)
    pod = {"metadata": {"labels": marks | NO_SIDECAR, "annotations": annotations}, "spec": spec}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata | {"labels": marks},
        "spec": {
            "replicas": server.settings.replicas,
            "strategy": strategy,
            "progressDeadlineSeconds": server.settings.start_timeout,
            "selector": {"matchLabels": server.labels},
            "template": shaped(server.cluster.pods, "server", pod),
        },
    }


def pod_labels(server: ModelServer) -> dict[str, str]:
    """The server's labels, and Kueue's where the recipe names a queue."""
    return server.labels | ({QUEUE: server.cluster.queue} if server.cluster.queue else {})


def service(server: ModelServer, metadata: Manifest) -> Manifest:
    """The Service of the Deployment."""
    ports = [{"name": "http", "port": PORT, "targetPort": "http"}]
    spec = {"selector": server.labels, "ports": ports}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}


def pod_spec(server: ModelServer) -> Manifest:
    """The spec of a pod that fetches the weights, then serves them."""
    pod, cluster = server.settings.pod.holding(server.model.size), server.cluster
    if cluster.model_cache:
        cluster = cluster.model_copy(update={"scratch": ScratchVolume(claim=cluster.model_cache)})
    asked = of_node(pod, cluster)
    spec = {
        **pod_skeleton(cluster, pod),
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 5,
        "initContainers": [_weights(server)],
        "containers": [_server(server, asked), *([_adapters(server)] if server.settings.adapter_rank else [])],
        "volumes": [scratch_volume("models", pod, cluster), temporary_volume(asked), shared_memory(pod)],
    }
    return with_authorities(cluster, spec)


def _weights(server: ModelServer) -> Manifest:
    """Brings the weights into the cache, which the server then only reads."""
    return _of_worker(server, "weights", "components.serving.weights", server.model.uri, server.model.digest, MODEL)


def _adapters(server: ModelServer) -> Manifest:
    """Brings adapters there, while the server serves."""
    probe = {"httpGet": {"path": "/health", "port": ADAPTERS_PORT}, "periodSeconds": PROBE_PERIOD_S}
    return {
        **_of_worker(server, "adapters", "components.serving.kubernetes.adapters", server.model.uri),
        "ports": [{"name": "adapters", "containerPort": ADAPTERS_PORT}],
        "readinessProbe": probe,
    }


def _of_worker(server: ModelServer, name: str, module: str, *arguments: str) -> Manifest:
    """A container that has the store's keys and writes to the cache."""
    return {
        "name": name,
        "image": server.worker_image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python3", "-m", module, *arguments],
        "env": [
            *server.environment,
            *working_in(SCRATCH, home=CACHE),
            *asked_environment(server.cluster),
        ],
        "envFrom": environment_sources(server.cluster),
        "resources": resources(server.cluster.steps),
        "securityContext": CONTAINER_SECURITY,
        "volumeMounts": [{"name": "models", "mountPath": CACHE}, {"name": "tmp", "mountPath": SCRATCH}],
    }


def _server(server: ModelServer, asked: PodSettings) -> Manifest:
    """No secret reaches it: a model's text may be hostile, and so may be a chat template."""
    settings, launch = server.settings, LAUNCHES[server.engine]
    probe = {"httpGet": {"path": "/health", "port": PORT}, "periodSeconds": PROBE_PERIOD_S, "timeoutSeconds": 5}
    return {
        "name": "server",
        "image": server.engine_image or launch.image,
        "imagePullPolicy": "IfNotPresent",
        "args": [*launch.arguments(server.model, settings), *settings.arguments],
        "env": [
            *server.environment,
            *({"name": name, "value": value} for name, value in RUN_TIME_ADAPTERS.items() if settings.adapter_rank),
            *working_in(SCRATCH),
            {"name": "USER", "value": "srlm"},  # torch asks for the user's name, which no passwd file has
            {"name": "HF_HUB_OFFLINE", "value": "1"},  # the weights are here
            *asked_environment(server.cluster, secrets=False),
        ],
        "ports": [{"name": "http", "containerPort": PORT}],
        "resources": resources(asked),
        "startupProbe": {**probe, "periodSeconds": 1, "failureThreshold": settings.start_timeout},
        "readinessProbe": {**probe, "failureThreshold": 6},  # a busy server may answer late
        "livenessProbe": {"tcpSocket": {"port": PORT}, "periodSeconds": 30, "failureThreshold": 4},
        "securityContext": CONTAINER_SECURITY,
        "volumeMounts": [
            {"name": "models", "mountPath": CACHE, "readOnly": True},
            {"name": "tmp", "mountPath": SCRATCH},
            {"name": "shm", "mountPath": SHARED_MEMORY},
        ],
    }
