"""Remove what a run has on the cluster. Whatever is gone already is no error."""

from __future__ import annotations

import time
from collections.abc import Callable

from components.core.progress import say
from components.kubernetes.client import PATIENCE_S, Cluster, ClusterError, connect, if_found, if_there, in_a_pod
from components.kubernetes.objects import selector

SERVER_TIMEOUT_S, JOB_TIMEOUT_S = 120.0, 90.0  # for pods to go
POLL_INTERVAL_S = 0.5
TRAIN_JOBS = "trainer.kubeflow.org", "v1alpha1", "trainjobs"


def remove_servers(cluster: Cluster, run: str, model: str = "") -> list[str]:
    """Remove the servers of a run, or of one of its models; returns the names of the Deployments.

    It waits until their pods are gone: the next server may need their GPUs.
    """
    chosen, namespace = selector("model-server", run, model), cluster.namespace
    for service in cluster.core.list_namespaced_service(namespace, label_selector=chosen).items:
        if_there(cluster.core.delete_namespaced_service, service.metadata.name, namespace)
    removed = []
    for deployment in cluster.apps.list_namespaced_deployment(namespace, label_selector=chosen).items:
        name = deployment.metadata.name
        say(f"removing the server {name}")
        if if_there(cluster.apps.delete_namespaced_deployment, name, namespace):
            removed.append(name)
    _wait_until(lambda: not cluster.core.list_namespaced_pod(namespace, label_selector=chosen).items, SERVER_TIMEOUT_S)
    return removed


def remove_train_jobs(cluster: Cluster, run: str) -> list[str]:
    """Remove the distributed training of a run; returns the names of its TrainJobs, none without Kubeflow Trainer.

    To who may not list them its absence looks like a refusal, too: ClusterError, 403.
    """
    group, version, plural = TRAIN_JOBS
    where = (group, version, cluster.namespace, plural)
    found = if_found(cluster.custom.list_namespaced_custom_object, *where, label_selector=selector(run=run))
    names = [job["metadata"]["name"] for job in (found["items"] if found else [])]
    delete = cluster.custom.delete_namespaced_custom_object
    return [name for name in names if if_there(delete, *where, name)]


def end_training(run: str, patience: float = PATIENCE_S) -> None:
    """Remove the TrainJobs of a step of this run that was killed while it followed them.

    Outside of a pod no step makes one; nor does one whose service account may not (403).
    """
    if not in_a_pod():
        return
    try:
        for name in remove_train_jobs(connect(patience=patience), run):
            say(f"removed the TrainJob {name}, which its step had left")
    except ClusterError as error:
        if error.status != 403:
            raise


def remove_job(cluster: Cluster, run: str) -> list[str]:
    """The run's Job with its pod, first, so that nobody makes another server; then the ConfigMap with its recipe.

    Returns what was removed, in lines.
    """
    removed, namespace, chosen = [], cluster.namespace, selector(run=run)
    for job in cluster.batch.list_namespaced_job(namespace, label_selector=chosen).items:
        name = job.metadata.name
        if if_there(cluster.batch.delete_namespaced_job, name, namespace, propagation_policy="Foreground"):
            ending = " and its pod" if _job_is_gone(cluster, name) else "; its pod is still ending"
            removed.append(f"removed the Job {name}{ending}")
    for recipe in cluster.core.list_namespaced_config_map(namespace, label_selector=chosen).items:
        if if_there(cluster.core.delete_namespaced_config_map, recipe.metadata.name, namespace):
            removed.append(f"removed the ConfigMap {recipe.metadata.name}")
    return removed


def _job_is_gone(cluster: Cluster, name: str) -> bool:
    jobs, same = cluster.batch.list_namespaced_job, f"metadata.name={name}"
    return _wait_until(lambda: not jobs(cluster.namespace, field_selector=same).items, JOB_TIMEOUT_S)


def free_servers(cluster: Cluster, run: str) -> list[str]:
    """Remove model servers and distributed training of a run; returns what was removed, in lines."""
    removed = [f"removed the server {name}" for name in remove_servers(cluster, run)]
    try:
        return removed + [f"removed the TrainJob {name}" for name in remove_train_jobs(cluster, run)]
    except ClusterError as error:
        if error.status != 403:
            raise
        return [*removed, "TrainJobs, if it has any, are left: they may not be asked for"]


def _wait_until(condition: Callable[[], bool], timeout_s: float) -> bool:
    """Whether the condition came true in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_INTERVAL_S)
    return True
