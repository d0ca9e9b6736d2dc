"""What serves or trains for a run that has ended: found by its owner, whatever became of the run's exit step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from components.kubernetes.client import Cluster, ClusterError, if_found, if_there
from components.kubernetes.objects import RUN, selector
from components.kubernetes.removal import TRAIN_JOBS

WORKFLOWS = "argoproj.io", "v1alpha1"
ENDED = ("Succeeded", "Failed", "Error")  # phases of Workflows and pods


@dataclass(frozen=True)
class Held:
    """A server or TrainJob of a run. `why` says what of its run has ended; empty where the run lives, or may live."""

    kind: str  # server or TrainJob
    name: str
    run: str
    why: str


def held_objects(cluster: Cluster) -> Iterator[Held]:
    """Everything in the namespace that serves or trains for a run, with whether it may go.

    It may only where the run's owner is known to have ended: a Workflow by its phase, a pod with the Job that would
    replace it. What has no owner is somebody's own. Raises ClusterError where that may not be asked.
    """
    namespace = cluster.namespace
    servers = cluster.apps.list_namespaced_deployment(namespace, label_selector=selector("model-server")).items
    serialised = cluster.api.sanitize_for_serialization
    for kind, objects in (("server", map(serialised, servers)), ("TrainJob", _train_jobs(cluster))):
        for found in objects:
            meta = found["metadata"]
            if run := meta.get("labels", {}).get(RUN):
                ends = [_end_of(cluster, owner) for owner in meta.get("ownerReferences", [])]
                yield Held(kind, meta["name"], run, ", ".join(ends) if all(ends) else "")


def remove_held(cluster: Cluster, held: Held) -> bool:
    """Remove it, with the Service of a server; False where it was gone already. Its pods end meanwhile."""
    if held.kind == "TrainJob":
        group, version, plural = TRAIN_JOBS
        delete = cluster.custom.delete_namespaced_custom_object
        return if_there(delete, group, version, cluster.namespace, plural, held.name)
    if_there(cluster.core.delete_namespaced_service, held.name, cluster.namespace)
    return if_there(cluster.apps.delete_namespaced_deployment, held.name, cluster.namespace)


def _train_jobs(cluster: Cluster) -> list[dict[str, Any]]:
    """None without Kubeflow Trainer: 404, or 403, as to who may not ask its absence looks like a refusal."""
    group, version, plural = TRAIN_JOBS
    try:
        found = cluster.custom.list_namespaced_custom_object(
            group, version, cluster.namespace, plural, label_selector=selector("training")
        )
    except ClusterError as error:
        if error.status not in (403, 404):
            raise
        return []
    return list(found["items"])


def _end_of(cluster: Cluster, owner: dict[str, Any]) -> str:
    """How an owner ended, "" where it has not, or is nothing that we know. One that is gone takes its objects along."""
    kind, name, uid = owner["kind"], owner["name"], owner["uid"]
    if kind == "Workflow":
        found = if_found(cluster.custom.get_namespaced_custom_object, *WORKFLOWS, cluster.namespace, "workflows", name)
    elif kind == "Pod":
        found = if_found(cluster.core.read_namespaced_pod, name, cluster.namespace)
        found = found and cluster.api.sanitize_for_serialization(found)
    else:
        return ""
    if found is None or found["metadata"]["uid"] != uid:
        return f"{kind} {name} is gone"
    phase = found.get("status", {}).get("phase", "")
    if phase not in ENDED or any(_may_go_on(cluster, above) for above in found["metadata"].get("ownerReferences", [])):
        return ""
    return f"{kind} {name} has ended ({phase})"


def _may_go_on(cluster: Cluster, controller: dict[str, Any]) -> bool:
    """Whether a pod's Job makes another pod in its place, which takes over what this one owned."""
    if controller["kind"] != "Job":
        return False
    job = if_found(cluster.batch.read_namespaced_job, controller["name"], cluster.namespace)
    if job is None:
        return False
    conditions = {one.type for one in job.status.conditions or [] if one.status == "True"}
    return not conditions & {"Complete", "Failed"}
