"""A TrainJob, which a step makes, follows and, when it is stopped, removes."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Iterator
from typing import Any

from components.core.errors import UserError
from components.core.progress import say, warn
from components.kubernetes.client import Cluster, ClusterError, connect
from components.kubernetes.owner import owner_of_this_step
from components.kubernetes.removal import if_there
from components.training.launch.logs import Log, ending_with_this_process
from components.training.launch.trainjob import GROUP, NODE, PLURAL, VERSION, Manifest, TrainJob, manifest
from components.training.launch.waiting import Wait

JOB_SET = "jobset.sigs.k8s.io/jobset-name"  # the label of a TrainJob's pods, with its name
PAUSE = 3.0  # seconds between two looks
PATIENCE, LOG_PATIENCE = 120.0, 10.0  # seconds for a job to go, and for a log's end to come


def follow(job: TrainJob, cluster: Cluster | None = None) -> None:
    """Make the TrainJob, or find it where a step before this one made it, and wait for its end with its logs here.

    Raises UserError with the workers' own message or the end of their log. A step that is stopped removes its job.
    """
    cluster = cluster or connect()
    _make(job, cluster)
    log = Log()
    with ending_with_this_process(lambda: remove(job, cluster)):
        logs, wait = PodLogs(job, cluster, log), Wait(job, cluster)
        while (ended := _look(job, cluster, logs, wait)) is None:
            time.sleep(PAUSE)
        logs.finish()
    remove(job, cluster)
    if ended:
        raise log.error(f"the TrainJob {job.name} failed ({ended})")


def _look(job: TrainJob, cluster: Cluster, logs: PodLogs, wait: Wait) -> str | None:
    """The job's outcome; None while it goes on, and while the API server is away, which says nothing about the job."""
    try:
        ended = outcome(there := found(job, cluster))
        pods = logs.look()
        if there and ended is None:
            wait.look(there, pods)
    except ClusterError as error:
        if 400 <= error.status < 500:
            raise
        warn(f"training {job.model} goes on unseen: {error.problem}")
        return None
    return ended


def _make(job: TrainJob, cluster: Cluster) -> None:
    """A job that has ended was left by a step that died; training goes on from its checkpoint in a new one."""
    if outcome(there := found(job, cluster)) is not None and there:
        remove(job, cluster)
    body = manifest(job, _runtime_kind(job, cluster), owner_of_this_step(cluster))
    try:
        cluster.custom.create_namespaced_custom_object(GROUP, VERSION, cluster.namespace, PLURAL, body)
        say(f"training {job.model} on {job.pods.nodes} nodes as TrainJob {job.name}")
    except ClusterError as error:
        if error.status == 404:
            raise UserError(
                f"the cluster knows no TrainJob, which training on {job.pods.nodes} nodes takes",
                "Install Kubeflow Trainer 2.3, or set resources.nodes to 1.",
            ) from error
        if error.status != 409:
            raise
        say(f"following the TrainJob {job.name}, which is there already")


def _runtime_kind(job: TrainJob, cluster: Cluster) -> str:
    """The chart's runtime lies in the namespace; one of the cluster's administrators lies outside of it."""
    name = job.cluster.training_runtime
    try:
        cluster.custom.get_namespaced_custom_object(GROUP, VERSION, cluster.namespace, "trainingruntimes", name)
    except ClusterError as error:
        if error.status != 404:
            raise
        return "ClusterTrainingRuntime"
    return "TrainingRuntime"


def found(job: TrainJob, cluster: Cluster) -> Manifest | None:
    """The job as the cluster has it, None where it is gone."""
    try:
        there: Manifest = cluster.custom.get_namespaced_custom_object(
            GROUP, VERSION, cluster.namespace, PLURAL, job.name
        )
    except ClusterError as error:
        if error.status != 404:
            raise
        return None
    return there


def outcome(job: Manifest | None) -> str | None:
    """Empty where the job is complete, why it failed or that it is gone, None while it goes on."""
    if job is None:
        return "somebody removed it"
    conditions = {c["type"]: c for c in job.get("status", {}).get("conditions", []) if c["status"] == "True"}
    if "Complete" in conditions:
        return ""
    failed = conditions.get("Failed")
    return f"{failed.get('reason', '')}: {failed.get('message', '')}" if failed else None


def remove(job: TrainJob, cluster: Cluster) -> None:
    """Returns when the job and its pods are gone: one of the same name may follow. It tries for two minutes."""
    deadline = time.monotonic() + PATIENCE
    while _is_there_to_remove(job, cluster, last_try=time.monotonic() > deadline):
        time.sleep(PAUSE)


def _is_there_to_remove(job: TrainJob, cluster: Cluster, last_try: bool) -> bool:
    delete = cluster.custom.delete_namespaced_custom_object
    arguments = (GROUP, VERSION, cluster.namespace, PLURAL, job.name)
    try:
        return if_there(delete, *arguments, propagation_policy="Foreground") and not last_try
    except ClusterError as error:
        if last_try or 400 <= error.status < 500:
            raise
        return True


class PodLogs:
    """Streams the logs of a job's pods, each from the moment when it runs."""

    def __init__(self, job: TrainJob, cluster: Cluster, log: Log) -> None:
        self.job, self.cluster, self.log = job, cluster, log
        self._threads: dict[str, threading.Thread] = {}

    def look(self) -> list[Any]:
        """Follow pods that are new; returns all of them."""
        chosen = f"{JOB_SET}={self.job.name}"
        pods = self.cluster.core.list_namespaced_pod(self.cluster.namespace, label_selector=chosen).items
        for pod in pods:
            if pod.status.phase != "Pending" and pod.metadata.name not in self._threads:
                thread = threading.Thread(target=self._follow, args=(pod.metadata.name,), daemon=True)
                self._threads[pod.metadata.name] = thread
                thread.start()
        return list(pods)

    def finish(self) -> None:
        """Read the ended pods' logs to their end."""
        self.look()
        for thread in self._threads.values():
            thread.join(LOG_PATIENCE)

    def _follow(self, pod: str) -> None:
        self.log.follow(self._lines(pod), prefix=f"{pod.removeprefix(self.job.name).lstrip('-')}: ")

    def _lines(self, pod: str) -> Iterator[str]:
        read = self.cluster.core.read_namespaced_pod_log
        try:
            response = read(pod, self.cluster.namespace, container=NODE, follow=True, _preload_content=False)
            yield from io.TextIOWrapper(response, errors="replace")
        except (UserError, OSError) as error:
            yield f"(its log cannot be followed further: {error})"
