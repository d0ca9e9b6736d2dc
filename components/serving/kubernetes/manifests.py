"""A model's server on Kubernetes as plain manifests: a Deployment, whose init container fetches weights; a Service."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from components.kubernetes.objects import KEEP, NO_SIDECAR, QUEUE, labels, object_name
from components.kubernetes.pods import (
    CONTAINER_SECURITY,
    asked_environment,
    environment_sources,
    pod_skeleton,
    resources,
    shared_memory,
    with_authorities,
)
from components.kubernetes.settings import ClusterSettings
from components.kubernetes.shape import shaped
from components.serving.kubernetes.launch import LAUNCHES, PORT, ServedModel

if TYPE_CHECKING:
    from components.serving.settings import ServingSettings

CACHE, SCRATCH, SHARED_MEMORY = "/models", "/tmp", "/dev/shm"  # noqa: S108  volumes of the pod
PROBE_PERIOD_S = 5
Manifest = dict[str, Any]


@dataclass(frozen=True)
class Server:
    """One model of a run to serve, and with what. `owner` goes into ownerReferences: the server goes when it does."""

    run: str
    name: str
    engine: str
    model: ServedModel
    settings: ServingSettings
    cluster: ClusterSettings
    worker_image: str
    engine_image: str
    owner: Mapping[str, Any] | None = field(default=None)

    @property
    def labels(self) -> dict[str, str]:
        return labels("model-server", self.run, self.name)

    @property
    def metadata(self) -> Manifest:
        owners = {"ownerReferences": [dict(self.owner)]} if self.owner else {}
        annotations = {"self-rewarding-pipelines/model-uri": self.model.uri}
        return {"name": server_name(self.run, self.name), "labels": self.labels, "annotations": annotations, **owners}


def server_name(run: str, name: str) -> str:
    """Of Deployment and Service: a DNS label (at most 63 characters) that tells run and model."""
    return object_name(run, name, longest=36)


def deployment(server: Server) -> Manifest:
    """The Deployment; at most `serving.start_timeout` passes before it counts as failed."""
    queue = server.cluster.queue if server.settings.pod.gpus else None
    metadata = server.metadata
    if queue:
        metadata["labels"] = {**metadata["labels"], QUEUE: queue}
    template = {"metadata": {"labels": metadata["labels"] | NO_SIDECAR, "annotations": KEEP}, "spec": _pod(server)}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata,
        "spec": {
            "replicas": server.settings.replicas,
            "strategy": {"type": "Recreate"},  # a second server would wait for the GPU of the first
            "progressDeadlineSeconds": server.settings.start_timeout,
            "selector": {"matchLabels": server.labels},
            "template": shaped(server.cluster.pods, "server", template),
        },
    }


def service(server: Server) -> Manifest:
    """The Service that the run's steps ask."""
    ports = [{"name": "http", "port": PORT, "targetPort": "http"}]
    spec = {"selector": server.labels, "ports": ports}
    return {"apiVersion": "v1", "kind": "Service", "metadata": server.metadata, "spec": spec}


def _pod(server: Server) -> Manifest:
    pod, cluster = server.settings.pod, server.cluster
    claim = {"persistentVolumeClaim": {"claimName": cluster.model_cache}} if cluster.model_cache else {"emptyDir": {}}
    spec = {
        **pod_skeleton(cluster, pod),
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 5,
        "initContainers": [_weights(server)],
        "containers": [_server(server)],
        "volumes": [{"name": "models", **claim}, {"name": "tmp", "emptyDir": {}}, shared_memory(pod)],
    }
    return with_authorities(cluster, spec)


def _weights(server: Server) -> Manifest:
    """Brings the weights into the cache, which the server then only reads."""
    return {
        "name": "weights",
        "image": server.worker_image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python3", "-m", "components.serving.weights", server.model.uri],
        "env": [
            {"name": "SRLM_HOME", "value": CACHE},
            {"name": "HOME", "value": SCRATCH},
            *asked_environment(server.cluster),
        ],
        "envFrom": environment_sources(server.cluster),
        "resources": resources(server.cluster.steps),
        "securityContext": CONTAINER_SECURITY,
        "volumeMounts": [{"name": "models", "mountPath": CACHE}, {"name": "tmp", "mountPath": SCRATCH}],
    }


def _server(server: Server) -> Manifest:
    """No secret reaches it: a model's text may be hostile, and so may be a chat template."""
    settings, launch = server.settings, LAUNCHES[server.engine]
    probe = {"httpGet": {"path": "/health", "port": "http"}, "periodSeconds": PROBE_PERIOD_S, "timeoutSeconds": 5}
    return {
        "name": "server",
        "image": server.engine_image or launch.image,
        "imagePullPolicy": "IfNotPresent",
        "args": [*launch.arguments(server.model, settings), *settings.arguments],
        "env": [
            {"name": "HOME", "value": SCRATCH},
            {"name": "USER", "value": "srlm"},  # torch asks for the user's name, which no passwd file has
            {"name": "HF_HUB_OFFLINE", "value": "1"},  # the weights are here
            *asked_environment(server.cluster, secrets=False),
        ],
        "ports": [{"name": "http", "containerPort": PORT}],
        "resources": resources(settings.pod),
        "startupProbe": {**probe, "periodSeconds": 1, "failureThreshold": settings.start_timeout},
        "readinessProbe": {**probe, "failureThreshold": 6},  # a busy server may answer late
        "livenessProbe": {"tcpSocket": {"port": "http"}, "periodSeconds": 30, "failureThreshold": 4},
        "securityContext": CONTAINER_SECURITY,
        "volumeMounts": [
            {"name": "models", "mountPath": CACHE, "readOnly": True},
            {"name": "tmp", "mountPath": SCRATCH},
            {"name": "shm", "mountPath": SHARED_MEMORY},
        ],
    }
