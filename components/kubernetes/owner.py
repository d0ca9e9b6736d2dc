"""Who owns what a step makes: with its owner the cluster removes it."""

from __future__ import annotations

import os
from typing import Any

from components.kubernetes.client import Cluster


def owner_of_this_step(cluster: Cluster) -> dict[str, Any] | None:
    """An ownerReference for what this step makes; None where it does not run in a pod that tells its name.

    Under Kubeflow a step's pod ends long before the run does, so the Workflow that owns the pod owns the server too.
    A run without Kubeflow is one pod, and a server without it would serve nobody.
    """
    step = os.environ.get("KFP_POD_NAME")
    name = step or os.environ.get("SRLM_POD_NAME")
    if not name:
        return None
    pod = cluster.core.read_namespaced_pod(name, cluster.namespace)
    if step and pod.metadata.owner_references:
        found = pod.metadata.owner_references[0]
        return {"apiVersion": found.api_version, "kind": found.kind, "name": found.name, "uid": found.uid}
    return {"apiVersion": "v1", "kind": "Pod", "name": name, "uid": pod.metadata.uid}
