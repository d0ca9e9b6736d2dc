"""Remove what a run has on the cluster. Whatever is gone already is no error."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from components.core.progress import say
from components.kubernetes.client import Cluster, ClusterError, connect, in_a_pod
from components.kubernetes.labels import selector

PATIENCE = 120  # seconds for pods to go
TRAIN_JOBS = "trainer.kubeflow.org", "v1alpha1", "trainjobs"


def remove_servers(cluster: Cluster, run: str, model: str = "") -> list[str]:
    """Remove the servers of a run, or of one of its models; returns the names of the Deployments.

    It waits until their pods are gone: the next server may need their GPUs.
    """
    chosen, namespace = selector("model-server", run, model), cluster.namespace
    for one in cluster.core.list_namespaced_service(namespace, label_selector=chosen).items:
        if_there(cluster.core.delete_namespaced_service, one.metadata.name, namespace)
    removed = []
    for one in cluster.apps.list_namespaced_deployment(namespace, label_selector=chosen).items:
        say(f"removing the server {one.metadata.name}")
        if if_there(cluster.apps.delete_namespaced_deployment, one.metadata.name, namespace):
            removed.append(one.metadata.name)
    deadline = time.monotonic() + PATIENCE
    while cluster.core.list_namespaced_pod(namespace, label_selector=chosen).items and time.monotonic() < deadline:
        time.sleep(0.5)
    return removed


def remove_train_jobs(cluster: Cluster, run: str) -> list[str]:
    """Remove the distributed training of a run; returns the names of its TrainJobs, none without Kubeflow Trainer.

    To who may not ask for them its absence looks like a refusal, too: ClusterError, 403.
    """
    group, version, plural = TRAIN_JOBS
    where = (group, version, cluster.namespace, plural)
    try:
        found = cluster.custom.list_namespaced_custom_object(*where, label_selector=selector(run=run))["items"]
    except ClusterError as error:
        if error.status != 404:
            raise
        return []
    names = [one["metadata"]["name"] for one in found]
    remove = cluster.custom.delete_namespaced_custom_object
    return [name for name in names if if_there(remove, *where, name)]


def end_training(run: str) -> None:
    """Remove what a step of this run left behind that was killed while it followed its TrainJob.

    Outside of a pod no step makes one; nor does one whose service account may not (403).
    """
    if not in_a_pod():
        return
    try:
        for name in remove_train_jobs(connect(), run):
            say(f"removed the TrainJob {name}, which its step had left")
    except ClusterError as error:
        if error.status != 403:
            raise


def if_there(delete: Callable[..., Any], *arguments: Any, **named: Any) -> bool:
    """Delete something; False where it was gone already."""
    try:
        delete(*arguments, **named)
    except ClusterError as error:
        if error.status != 404:
            raise
        return False
    return True
