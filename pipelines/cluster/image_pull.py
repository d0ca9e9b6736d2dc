"""Whether the cluster's nodes get an image, tried with a pod that does nothing."""

from __future__ import annotations

import time
import uuid
from typing import Any

from components.kubernetes.client import Cluster
from components.kubernetes.labels import COMPONENT, MANAGER, NAME
from components.kubernetes.pods import CONTAINER_SECURITY, POD_SECURITY
from components.kubernetes.removal import if_there
from components.kubernetes.settings import ClusterSettings
from components.kubernetes.troubles import trouble_of
from pipelines.cluster.findings import Finding, broken, ok

PATIENCE = 600.0  # seconds; an image with CUDA has 10 GB


def pull(cluster: Cluster, image: str, settings: ClusterSettings) -> Finding:
    """Starts a pod of the image and removes it. Raises ClusterError."""
    name = f"srlm-doctor-{uuid.uuid4().hex[:8]}"
    cluster.core.create_namespaced_pod(cluster.namespace, _pod(name, image, settings))
    try:
        return _wait(cluster, name, image)
    finally:
        if_there(cluster.core.delete_namespaced_pod, name, cluster.namespace, grace_period_seconds=0)


def _wait(cluster: Cluster, name: str, image: str) -> Finding:
    remedy = "Correct the image's name (SRLM_*_IMAGE), image_pull_secrets, or the nodes' access to the registry."
    started = time.monotonic()
    while time.monotonic() - started < PATIENCE:
        pod = cluster.core.read_namespaced_pod(name, cluster.namespace)
        if pod.status.phase == "Succeeded":
            return ok(f"{image} starts ({time.monotonic() - started:.0f} s)")
        if trouble := trouble_of(pod):
            return broken(f"{image}: {trouble.text}", remedy)
        time.sleep(0.5)
    return broken(f"{image} was not started within {PATIENCE:.0f} s", remedy)


def _pod(name: str, image: str, settings: ClusterSettings) -> dict[str, Any]:
    container = {
        "name": "probe",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python3", "-c", ""],
        "securityContext": CONTAINER_SECURITY,
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "128Mi"}},
    }
    spec = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "securityContext": POD_SECURITY,
        "imagePullSecrets": [{"name": one} for one in settings.image_pull_secrets],
        "containers": [container],
    }
    labels = {NAME: "self-rewarding", MANAGER: "srlm", COMPONENT: "doctor"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels}, "spec": spec}
