"""The log of a container while it runs, line by line, whatever breaks between the cluster and here."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from components.kubernetes.client import Cluster
from components.kubernetes.diagnosis import container_statuses

POLL_INTERVAL_S = 2.0


def log_lines(cluster: Cluster, pod: str, container: str, follow: bool = True) -> Iterator[str]:
    """The lines of a container's log; with `follow` until it has ended.

    A stream ends early where an API server or a kubelet starts again, or a log is rotated: then the log is read again,
    and what was given already, by the time that stands before each line, is passed over. Raises ClusterError (404 where
    the pod is gone).
    """
    from urllib3.exceptions import HTTPError

    named = {"container": container, "timestamps": True, "follow": follow, "_preload_content": False}
    given = ""
    while True:
        ended = not follow or _has_ended(cluster, pod, container)  # before it is read for the last time
        before = given
        try:
            answer = cluster.core.read_namespaced_pod_log(pod, cluster.namespace, **named)
            for line in lines(answer.stream()):
                written, _, text = line.partition(" ")
                if written > before:
                    given = written
                    yield text
        except (HTTPError, OSError):
            ended = False
        if ended:
            return
        time.sleep(POLL_INTERVAL_S)


def _has_ended(cluster: Cluster, pod: str, container: str) -> bool:
    """Whether the container logs no more, in this pod."""
    found: Any = cluster.core.read_namespaced_pod(pod, cluster.namespace)
    if found.status.phase in ("Succeeded", "Failed"):
        return True
    states = [one.state for one in container_statuses(found) if one.name == container]
    starts_again = found.spec.restart_policy != "Never"
    return any(state and state.terminated for state in states) and not starts_again


def lines(chunks: Iterator[bytes]) -> Iterator[str]:
    """The lines of a stream that is cut anywhere."""
    unfinished = b""
    for chunk in chunks:
        *whole, unfinished = (unfinished + chunk).split(b"\n")
        yield from (line.decode(errors="replace") for line in whole)
    if unfinished:
        yield unfinished.decode(errors="replace")
