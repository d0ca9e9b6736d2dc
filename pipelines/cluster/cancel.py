"""Remove what a run has on a cluster. All of it may be gone already."""

from __future__ import annotations

import time

from components.kubernetes.client import Cluster, ClusterError
from components.kubernetes.labels import selector
from components.kubernetes.removal import if_there, remove_servers, remove_train_jobs

PATIENCE = 90.0  # seconds for a Job and its pod to go


def remove_job(cluster: Cluster, run: str) -> list[str]:
    """The run's Job with its pod, first, so that nobody makes another server; then the ConfigMap with its recipe."""
    removed, namespace, chosen = [], cluster.namespace, selector(run=run)
    for job in cluster.batch.list_namespaced_job(namespace, label_selector=chosen).items:
        name = job.metadata.name
        if if_there(cluster.batch.delete_namespaced_job, name, namespace, propagation_policy="Foreground"):
            removed.append(f"removed the Job {name}{_wait(cluster, name)}")
    for one in cluster.core.list_namespaced_config_map(namespace, label_selector=chosen).items:
        if if_there(cluster.core.delete_namespaced_config_map, one.metadata.name, namespace):
            removed.append(f"removed the ConfigMap {one.metadata.name}")
    return removed


def _wait(cluster: Cluster, name: str) -> str:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        chosen = f"metadata.name={name}"
        if not cluster.batch.list_namespaced_job(cluster.namespace, field_selector=chosen).items:
            return " and its pod"
        time.sleep(0.5)
    return "; its pod is still ending"


def free_servers(cluster: Cluster, run: str) -> list[str]:
    """Model servers and distributed training of a run."""
    removed = [f"removed the server {name}" for name in remove_servers(cluster, run)]
    return removed + _remove_train_jobs(cluster, run)


def _remove_train_jobs(cluster: Cluster, run: str) -> list[str]:
    try:
        return [f"removed the TrainJob {name}" for name in remove_train_jobs(cluster, run)]
    except ClusterError as error:
        if error.status != 403:
            raise
        return ["TrainJobs, if it has any, are left: they may not be asked for"]
