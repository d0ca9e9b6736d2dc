"""What every object of a run has on Kubernetes: a name, labels by which it is found, an owner; how it is applied."""

from __future__ import annotations

import os
from typing import Any

from components.core.hashing import content_hash
from components.kubernetes.client import Cluster, if_found, if_there

APPLICATION = "self-rewarding"
NAME, MANAGER, COMPONENT = "app.kubernetes.io/name", "app.kubernetes.io/managed-by", "app.kubernetes.io/component"
# Where Istio injects its proxy (the profiles of Kubeflow), init containers have no network, Jobs do not end, and the
# nodes of a training do not find each other. Whoever wants it all the same says so in cluster.pods.
NO_SIDECAR = {"sidecar.istio.io/inject": "false"}
QUEUE = "kueue.x-k8s.io/queue-name"  # Kueue's, of its local queue
# Annotations, of cluster-autoscaler and of Karpenter: moving the pod would lose its work.
KEEP = {"cluster-autoscaler.kubernetes.io/safe-to-evict": "false", "karpenter.sh/do-not-disrupt": "true"}
RUN, MODEL = "self-rewarding-pipelines/run", "self-rewarding-pipelines/model"

FIELD_MANAGER = "srlm"
PATHS = {
    "Service": "/api/v1/namespaces/{}/services/{}",
    "ServiceAccount": "/api/v1/namespaces/{}/serviceaccounts/{}",
    "Deployment": "/apis/apps/v1/namespaces/{}/deployments/{}",
    "Role": "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/roles/{}",
    "RoleBinding": "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/rolebindings/{}",
    "InferenceService": "/apis/serving.kserve.io/v1beta1/namespaces/{}/inferenceservices/{}",
}
APPLY, MERGE = "application/apply-patch+yaml", "application/merge-patch+json"


def object_name(run: str, suffix: str, longest: int, identity: Any = None) -> str:
    """A DNS label (a letter first) that tells run and suffix.

    The run is cut to `longest` characters, so a hash of `identity` (else of the whole run) keeps names apart.
    """
    stem = run if run[:1].isalpha() else f"run-{run}"
    return f"{stem[:longest].rstrip('-.')}-{content_hash(identity or run)[:6]}-{suffix}"


def labels(component: str, run: str = "", model: str = "") -> dict[str, str]:
    """Of an object of a run; `component` is run, model-server, training or submission. A deployed model has no run."""
    common = {NAME: APPLICATION, MANAGER: "srlm", COMPONENT: component}
    return common | {name: value for name, value in ((RUN, run), (MODEL, model)) if value}


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
    """Server-side apply of an object: makes what is missing, changes what differs.

    Two that apply at once do not collide. The client's typed calls cannot name this kind of patch.
    """
    _call(cluster, "PATCH", manifest["kind"], manifest["metadata"]["name"], APPLY, manifest)


def merge(cluster: Cluster, kind: str, name: str, patch: dict[str, Any]) -> None:
    """JSON merge patch (RFC 7396) of an object that is there: what it does not name stays."""
    _call(cluster, "PATCH", kind, name, MERGE, patch)


def read(cluster: Cluster, kind: str, name: str) -> dict[str, Any] | None:
    """The object as the API has it; None where there is none, or the cluster knows no such kind."""
    found: dict[str, Any] | None = if_found(_call, cluster, "GET", kind, name)
    return found


def remove(cluster: Cluster, kind: str, name: str) -> bool:
    """Delete an object; False where there is none, or the cluster knows no such kind."""
    return if_there(_call, cluster, "DELETE", kind, name)


def _call(cluster: Cluster, verb: str, kind: str, name: str, patch: str = "", body: Any = None) -> Any:
    """One request about one object; `patch` is the kind of a patch."""
    query = [("fieldManager", FIELD_MANAGER)] if patch else []
    answer, _, _ = cluster.api.call_api(
        PATHS[kind].format(cluster.namespace, name),
        verb,
        query_params=query + ([("force", "true")] if patch == APPLY else []),
        header_params={"Accept": "application/json"} | ({"Content-Type": patch} if patch else {}),
        body=body,
        auth_settings=["BearerToken"],
        response_type="object",
    )
    return answer
