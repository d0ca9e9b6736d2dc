"""Whether the cluster's nodes get an image, tried with a pod that does nothing."""

from __future__ import annotations

import time
import uuid
from typing import Any

from components.core.errors import UserError
from components.kubernetes.client import Cluster, if_there
from components.kubernetes.diagnosis import diagnose
from components.kubernetes.objects import APPLICATION, COMPONENT, MANAGER, NAME
from components.kubernetes.pods import CONTAINER_SECURITY, pod_skeleton, resources
from components.kubernetes.settings import ClusterSettings
from components.kubernetes.shape import shaped
from components.kubernetes.wait import Wait, WaitPolicy
from pipelines.local.doctor import Finding, broken, ok

POLL_INTERVAL_S = 0.5
REMEDY = "Correct the image's name (SRLM_*_IMAGE), image_pull_secrets, or the nodes' access to the registry."
AT_ONCE = WaitPolicy(
    limits={},
    remedies={},
    other_remedy=REMEDY,
    other_limit=0.0,
    timeout_s=600.0,  # an image with CUDA has 10 GB
    timeout_remedy=REMEDY,
)


def pull(cluster: Cluster, image: str, settings: ClusterSettings) -> Finding:
    """Starts a pod of the image and removes it; any failure of the pod is broken. Raises ClusterError."""
    name = f"srlm-doctor-{uuid.uuid4().hex[:8]}"
    started, wait = time.monotonic(), Wait(cluster, AT_ONCE, image)
    cluster.core.create_namespaced_pod(cluster.namespace, _pod(name, image, settings))
    try:
        while True:
            pod = cluster.core.read_namespaced_pod(name, cluster.namespace)
            if pod.status.phase == "Succeeded":
                return ok(f"{image} starts ({time.monotonic() - started:.0f} s)")
            failure = diagnose(pod)
            try:
                wait.check([(failure, pod)] if failure else [])
            except UserError as error:
                return broken(error.problem, error.remedy)
            time.sleep(POLL_INTERVAL_S)
    finally:
        if_there(cluster.core.delete_namespaced_pod, name, cluster.namespace, grace_period_seconds=0)


def _pod(name: str, image: str, settings: ClusterSettings) -> dict[str, Any]:
    container = {
        "name": "probe",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python3", "-c", ""],
        "securityContext": CONTAINER_SECURITY,
        "resources": resources(settings.steps),
    }
    spec = {
        **pod_skeleton(settings),
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "containers": [container],
    }
    labels = {NAME: APPLICATION, MANAGER: "srlm", COMPONENT: "doctor"}
    template = shaped(settings.pods, "job", {"metadata": {"name": name, "labels": labels}, "spec": spec})
    return {"apiVersion": "v1", "kind": "Pod", **template}
