"""What the pods of a run say, in lines, and their logs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

from components.kubernetes.client import Cluster, ClusterError
from components.kubernetes.troubles import (
    container_statuses,
    last_log_lines,
    mount_trouble,
    refusal_of,
    trouble_of,
)
from pipelines.cluster.runs import age

LOG_LINES = 5
POLL_SECONDS = 1.0
OLDEST = datetime.min.replace(tzinfo=UTC)


def pods_of(cluster: Cluster, selector: str) -> list[Any]:
    """Pods, oldest first."""
    pods = cluster.core.list_namespaced_pod(cluster.namespace, label_selector=selector).items
    return sorted(pods, key=lambda pod: pod.metadata.creation_timestamp or OLDEST)


def describe(cluster: Cluster, pod: Any) -> list[str]:
    """A pod's name and state; its trouble and its last words where it has one."""
    name, status = pod.metadata.name, pod.status
    trouble = trouble_of(pod)
    if trouble is None and status.phase == "Pending":
        trouble = mount_trouble(events_about(cluster, name))
    if trouble is None:
        return [f"pod {name}: {_state(pod)}"]
    log = last_log_lines(cluster.core, pod, trouble.container, LOG_LINES) if trouble.container else []
    wait = "" if trouble.final else " (waiting may help)"
    return [f"pod {name}: {trouble.text}{wait}", *(f"  {line}" for line in log)]


def _state(pod: Any) -> str:
    if pod.metadata.deletion_timestamp:
        return "is ending"
    since = age(pod.status.start_time or pod.metadata.creation_timestamp)
    if pod.status.phase == "Succeeded":
        return "has done its work"
    if pod.status.phase == "Pending":
        return f"is being started ({since})"
    statuses = list(pod.status.container_statuses or [])
    restarts = sum(one.restart_count for one in statuses)
    again = f", started again {restarts} times" if restarts else ""
    return f"runs ({since}){'' if all(one.ready for one in statuses) else ', not ready yet'}{again}"


def refusals(cluster: Cluster, owner: Any, what: str) -> list[str]:
    """Why the cluster makes no pods for a Job or Deployment."""
    found = refusal_of(owner, events_about(cluster, owner.metadata.name))
    return [f"{what} {owner.metadata.name}: {found.text}"] if found else []


def events_about(cluster: Cluster, name: str) -> list[Any]:
    """Events of an object, oldest first; none where they may not be read."""
    try:
        found = cluster.core.list_namespaced_event(cluster.namespace, field_selector=f"involvedObject.name={name}")
    except ClusterError as error:
        if error.status != 403:
            raise
        return []
    return sorted(found.items, key=lambda event: event.last_timestamp or event.event_time or OLDEST)


def follow_pods(
    cluster: Cluster, pods: Callable[[], list[Any]], ended: Callable[[], bool], follow: bool, prefix: bool = False
) -> Iterator[str]:
    """The logs of pods, one after the other; with `follow` also of those that come until `ended`."""
    seen: set[str] = set()
    while True:
        over = not follow or ended()  # asked before the last look
        new = [pod for pod in pods() if pod.metadata.name not in seen]
        for pod in new:
            seen.add(pod.metadata.name)
            start = f"{pod.metadata.name}: " if prefix else ""
            yield from (f"{start}{line}" for line in _pod_log(cluster, pod, follow))
        if over and not new:
            return
        if follow and not new:
            time.sleep(POLL_SECONDS)


def _pod_log(cluster: Cluster, pod: Any, follow: bool) -> Iterator[str]:
    """A pod's log from its start; where it has not started, why (once), and with `follow` the log when it does."""
    name, container, told = pod.metadata.name, _main(pod), ""
    try:
        while not _started(pod, container):
            state = "\n".join(describe(cluster, pod))
            if state != told:
                yield from state.splitlines()
                told = state
            if not follow or pod.status.phase in ("Failed", "Succeeded"):
                return
            time.sleep(POLL_SECONDS)
            pod = cluster.core.read_namespaced_pod(name, cluster.namespace)
        answer = cluster.core.read_namespaced_pod_log(
            name, cluster.namespace, container=container, follow=follow, _preload_content=False
        )
        yield from _lines(answer.stream())
    except ClusterError as error:
        if error.status != 404:
            raise
        yield f"pod {name} is gone, and its log with it"


def _main(pod: Any) -> str:
    """Kubeflow's pods hold helpers beside the container `main`; ours have one container."""
    names = [str(container.name) for container in pod.spec.containers]
    return "main" if "main" in names else names[0]


def _started(pod: Any, container: str) -> bool:
    for status in container_statuses(pod):
        if status.name == container and status.state:
            return bool(status.state.running or status.state.terminated or status.restart_count)
    return False


def _lines(chunks: Iterator[bytes]) -> Iterator[str]:
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        yield from (line.decode(errors="replace") for line in whole)
    if rest:
        yield rest.decode(errors="replace")
