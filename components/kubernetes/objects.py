"""What every object of a run has on Kubernetes: a name, labels by which it is found, an owner; how it is applied."""

from __future__ import annotations

import os
from typing import Any

from components.core.hashing import content_hash
from components.kubernetes.client import Cluster

APPLICATION = "self-rewarding"
NAME, MANAGER, COMPONENT = "app.kubernetes.io/name", "app.kubernetes.io/managed-by", "app.kubernetes.io/component"
# Where Istio injects its proxy (the profiles of Kubeflow), init containers have no network and Jobs do not end.
NO_SIDECAR = {"sidecar.istio.io/inject": "false"}
QUEUE = "kueue.x-k8s.io/queue-name"  # Kueue's, of its local queue
KEEP = {"cluster-autoscaler.kubernetes.io/safe-to-evict": "false"}  # annotation: moving the pod would lose its work
RUN, MODEL = "self-rewarding-pipelines/run", "self-rewarding-pipelines/model"

FIELD_MANAGER = "srlm"
PATHS = {"Service": "/api/v1/namespaces/{}/services/{}", "Deployment": "/apis/apps/v1/namespaces/{}/deployments/{}"}


def object_name(run: str, suffix: str, longest: int, identity: Any = None) -> str:
    """A DNS label (a letter first) that tells run and suffix.

    The run is cut to `longest` characters, so a hash of `identity` (else of the whole run) keeps names apart.
    """
    stem = run if run[:1].isalpha() else f"run-{run}"
    return f"{stem[:longest].rstrip('-.')}-{content_hash(identity or run)[:6]}-{suffix}"


def labels(component: str, run: str, model: str = "") -> dict[str, str]:
    """Of an object of a run; `component` is run, model-server, training or submission."""
    common = {NAME: APPLICATION, MANAGER: "srlm", COMPONENT: component, RUN: run}
    return {**common, MODEL: model} if model else common


def selector(component: str = "", run: str = "", model: str = "") -> str:
    """A label selector for the objects that `labels` describes; what is empty is any."""
    wanted = {MANAGER: "srlm", COMPONENT: component, RUN: run, MODEL: model}
    return ",".join(f"{name}={value}" for name, value in wanted.items() if value)


def owner_of_this_step(cluster: Cluster) -> dict[str, Any] | None:
    """An ownerReference for what this step makes: the cluster removes it with its owner.

    Under Kubeflow a step's pod ends long before the run does, so the Workflow that owns the pod owns the server too.
    A run without Kubeflow is one pod, and a server without it would serve nobody. None where this process does not run
    in a pod that tells its name.
    """
    step = os.environ.get("KFP_POD_NAME")
    name = step or os.environ.get("SRLM_POD_NAME")
    if not name:
        return None
    pod = cluster.core.read_namespaced_pod(name, cluster.namespace)
    if step and pod.metadata.owner_references:
        owner = pod.metadata.owner_references[0]
        return {"apiVersion": owner.api_version, "kind": owner.kind, "name": owner.name, "uid": owner.uid}
    return {"apiVersion": "v1", "kind": "Pod", "name": name, "uid": pod.metadata.uid}


def apply(cluster: Cluster, manifest: dict[str, Any]) -> None:
    """Server-side apply of a Service or Deployment: makes what is missing, changes what differs.

    Two that apply at once do not collide. The client's typed calls cannot name this kind of patch.
    """
    path = PATHS[manifest["kind"]].format(cluster.namespace, manifest["metadata"]["name"])
    cluster.api.call_api(
        path,
        "PATCH",
        query_params=[("fieldManager", FIELD_MANAGER), ("force", "true")],
        header_params={"Content-Type": "application/apply-patch+yaml", "Accept": "application/json"},
        body=manifest,
        auth_settings=["BearerToken"],
        response_type="object",
    )
