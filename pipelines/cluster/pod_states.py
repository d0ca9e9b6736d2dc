"""The states of a run's pods, in lines, and their logs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

from components.kubernetes.client import Cluster, ClusterError
from components.kubernetes.diagnosis import container_statuses, diagnose, last_log_lines
from components.kubernetes.events import diagnose_creation, diagnose_mount
from components.kubernetes.logs import log_lines
from pipelines.cluster.step_logs import own_lines
from pipelines.runs import age

LOG_LINES, READ_LINES = 5, 100  # Kubeflow's launcher has the last word, for some lines
POLL_INTERVAL_S = 1.0
MORE_MEMORY = "raise cluster.steps.memory_limit, of a training resources.memory_limit, of a server serving.pod.memory"
OLDEST = datetime.min.replace(tzinfo=UTC)


def pods_of(cluster: Cluster, selector: str) -> list[Any]:
    """Pods, oldest first."""
    pods = cluster.core.list_namespaced_pod(cluster.namespace, label_selector=selector).items
    return sorted(pods, key=lambda pod: pod.metadata.creation_timestamp or OLDEST)


def describe(cluster: Cluster, pod: Any) -> list[str]:
    """A pod's name and state; where it fails why, with the last lines of its log."""
    name = pod.metadata.name
    failure = diagnose(pod)
    if failure is None and pod.status.phase == "Pending":
        failure = diagnose_mount(events_about(cluster, name))
    if failure is None:
        return [f"pod {name}: {_state(pod)}"]
    log = last_log_lines(cluster.core, pod, failure.container, READ_LINES) if failure.container else []
    wait = "" if failure.permanent else " (waiting may help)"
    if failure.kind == "out_of_memory":
        wait = f" ({MORE_MEMORY})"
    return [f"pod {name}: {failure.text}{wait}", *(f"  {line}" for line in list(own_lines(log))[-LOG_LINES:])]


def _state(pod: Any) -> str:
    if pod.metadata.deletion_timestamp:
        return "is ending"
    since = age(pod.status.start_time or pod.metadata.creation_timestamp)
    if pod.status.phase == "Succeeded":
        return "has done its work"
    if pod.status.phase == "Pending":
        return f"is being started ({since})"
    statuses = list(pod.status.container_statuses or [])
    restarts = sum(status.restart_count for status in statuses)
    again = f", started again {restarts} times" if restarts else ""
    ready = "" if all(status.ready for status in statuses) else ", not ready yet"
    return f"runs ({since}){ready}{again}"


def creation_failure(cluster: Cluster, owner: Any, what: str) -> str:
    """Why the cluster creates no pods for a Job or Deployment; empty where it does."""
    failure = diagnose_creation(owner, events_about(cluster, owner.metadata.name))
    return f"{what} {owner.metadata.name}: {failure.text}" if failure else ""


def events_about(cluster: Cluster, name: str) -> list[Any]:
    """Events of an object, oldest first; none where they may not be read."""
    about = f"involvedObject.name={name}"
    try:
        events = cluster.core.list_namespaced_event(cluster.namespace, field_selector=about).items
    except ClusterError as error:
        if error.status != 403:
            raise
        return []
    return sorted(events, key=lambda event: event.last_timestamp or event.event_time or OLDEST)


def follow_pods(
    cluster: Cluster, pods: Callable[[], list[Any]], ended: Callable[[], bool], follow: bool, prefix: bool = False
) -> Iterator[str]:
    """The logs of pods, one after the other; with `follow` also of those that come until `ended`."""
    seen: set[str] = set()
    while True:
        over = not follow or ended()  # before the pods are listed for the last time
        new = [pod for pod in pods() if pod.metadata.name not in seen]
        for pod in new:
            seen.add(pod.metadata.name)
            start = f"{pod.metadata.name}: " if prefix else ""
            yield from (f"{start}{line}" for line in _pod_log(cluster, pod, follow))
        if over and not new:
            return
        if follow and not new:
            time.sleep(POLL_INTERVAL_S)


def _pod_log(cluster: Cluster, pod: Any, follow: bool) -> Iterator[str]:
    """A pod's log from its start; where it has not started, why (once), and with `follow` the log when it does."""
    name, shown = pod.metadata.name, ""
    containers = [str(container.name) for container in pod.spec.containers]
    container = "main" if "main" in containers else containers[0]  # Kubeflow's pods hold helpers beside it
    try:
        while not _has_started(pod, container):
            state = "\n".join(describe(cluster, pod))
            if state != shown:
                yield from state.splitlines()
                shown = state
            if not follow or pod.status.phase in ("Failed", "Succeeded"):
                return
            time.sleep(POLL_INTERVAL_S)
            pod = cluster.core.read_namespaced_pod(name, cluster.namespace)
        yield from own_lines(log_lines(cluster, name, container, follow))
    except ClusterError as error:
        if error.status != 404:
            raise
        yield f"pod {name} is gone, and its log with it"


def _has_started(pod: Any, container: str) -> bool:
    for status in container_statuses(pod):
        if status.name == container and status.state:
            return bool(status.state.running or status.state.terminated or status.restart_count)
    return False
