"""Why a pod does not work, read from its status, in words: Kubernetes knows it within seconds."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from components.kubernetes.client import ClusterError

if TYPE_CHECKING:
    from kubernetes.client import CoreV1Api, V1ContainerState, V1ContainerStateTerminated, V1ContainerStatus, V1Pod

FailureKind = Literal[
    "unschedulable", "queued", "image", "config", "crash", "out_of_memory", "evicted", "deadline", "quota", "admission"
]
IMAGE = {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError"}
IMAGE |= {"RegistryUnavailable", "SignatureValidationFailed"}
CONFIG = {"CreateContainerConfigError", "CreateContainerError", "RunContainerError", "PostStartHookError"}
# What a registry answers when asking again is of no use; without one of these it may be the network.
_NO_SUCH_IMAGE = re.compile(
    r"not found|manifest unknown|denied|unauthorized|InvalidImageName|ErrImageNeverPull|no match"
)
PERSISTENT_RESTARTS = 2  # as often has a container to crash again before we believe that it always will


@dataclass(frozen=True)
class PodFailure:
    """What keeps a pod from working. `permanent`: waiting does not help, somebody has to change something.

    `container` is empty where the whole pod is meant; `restarts` counts how often the container was started again.
    """

    kind: FailureKind
    text: str
    permanent: bool
    container: str = ""
    restarts: int = 0


def diagnose(pod: V1Pod) -> PodFailure | None:
    """The failure of a pod, the gravest first; None while it works, starts or ended well."""
    if pod.status is None or pod.status.phase == "Succeeded":
        return None
    if failure := _ended_from_outside(pod):
        return failure
    failures = [failure for status in container_statuses(pod) if (failure := _diagnose_container(pod, status))]
    return min(failures, key=lambda failure: not failure.permanent, default=None) or _not_scheduled(pod)


def container_statuses(pod: V1Pod) -> Iterator[V1ContainerStatus]:
    """Of all containers of a pod, in the order in which they start."""
    yield from pod.status.init_container_statuses or []
    yield from pod.status.container_statuses or []


def last_log_lines(core: CoreV1Api, pod: V1Pod, container: str, lines: int = 10) -> list[str]:
    """The last lines that a container logged before it ended, if it ever did; none where they cannot be had.

    It may have been started again since its pod was read: where one of its two logs is empty, the other tells.
    """
    status = next((status for status in container_statuses(pod) if status.name == container), None)
    before = bool(status and not _state(status.state).terminated and _state(status.last_state).terminated)
    where = {"container": container, "tail_lines": lines}
    for previous in (before, not before):
        with suppress(ClusterError):
            text = core.read_namespaced_pod_log(pod.metadata.name, pod.metadata.namespace, previous=previous, **where)
            if text:
                return str(text).splitlines()
    return []


def _ended_from_outside(pod: V1Pod) -> PodFailure | None:
    """Evicted, past its deadline, preempted, or refused by its node."""
    reason, message = pod.status.reason, (pod.status.message or "").strip()
    if reason == "DeadlineExceeded":
        seconds = pod.spec.active_deadline_seconds if pod.spec else None
        limit = f" ({seconds} s)" if seconds else ""
        return PodFailure("deadline", f"the pod ran longer than it may{limit}: {message}", True)
    if pod.status.phase == "Failed" and reason:
        return PodFailure("evicted", f"its node ended the pod ({reason}): {message}", True)
    for condition in pod.status.conditions or []:
        if condition.type == "DisruptionTarget" and condition.status == "True":
            return PodFailure("evicted", f"the pod has to go ({condition.reason}): {condition.message}", True)
    return None


def _diagnose_container(pod: V1Pod, status: V1ContainerStatus) -> PodFailure | None:
    now, before = _state(status.state), _state(status.last_state)
    reason, message = (now.waiting.reason, now.waiting.message or "") if now.waiting else ("", "")
    name = status.name
    if reason in IMAGE:
        permanent = bool(_NO_SUCH_IMAGE.search(f"{reason} {message}"))
        # containerd's chain of causes starts with the same image name three times over
        cause = message.rpartition("failed to resolve image: ")[2].strip() or reason
        return PodFailure("image", f"{name}: its image {status.image} cannot be had: {cause}", permanent, name)
    if reason in CONFIG:
        text = f"{name} cannot be started ({reason}): {message}"
        return PodFailure("config", text, True, name, status.restart_count)
    if now.terminated and now.terminated.exit_code:
        return _diagnose_end(pod, status, now.terminated, pod.status.phase == "Failed")
    if before.terminated and before.terminated.exit_code and not (status.ready or now.terminated):
        return _diagnose_end(pod, status, before.terminated, False)
    return None


def _state(state: V1ContainerState | None) -> V1ContainerState:
    from kubernetes.client import V1ContainerState

    return state or V1ContainerState()


def _diagnose_end(pod: V1Pod, status: V1ContainerStatus, end: V1ContainerStateTerminated, last: bool) -> PodFailure:
    """A container that ended with an error; `last` when its pod does not start it again."""
    name, restarts = status.name, status.restart_count
    again = f", started again {restarts} times" if restarts > 1 else ", started again once" if restarts else ""
    message = (end.message or "").strip()
    if end.reason == "OOMKilled":
        named = [container for container in _containers(pod) if container.name == name and container.resources]
        limit = (named[0].resources.limits or {}).get("memory", "") if named else ""
        text = f"{name} needs more memory than its limit{limit and f' of {limit}'} (OOMKilled){again}"
        return PodFailure("out_of_memory", text, True, name, restarts)
    if end.reason in ("StartError", "ContainerCannotRun"):
        cause = message.rpartition("unable to start container process: ")[2]
        return PodFailure("config", f"{name} cannot be started: {cause}", True, name, restarts)
    try:
        killed_by = f" ({signal.Signals(end.exit_code - 128).name})"
    except ValueError:
        killed_by = ""
    text = f"{name} ended with exit code {end.exit_code}{killed_by}{again}{message and f': {message}'}"
    return PodFailure("crash", text, last or restarts >= PERSISTENT_RESTARTS, name, restarts)


def _containers(pod: V1Pod) -> list[Any]:
    """The containers of a pod's spec, in the order in which they start."""
    return [*(pod.spec.init_containers or []), *(pod.spec.containers or [])] if pod.spec else []


def _not_scheduled(pod: V1Pod) -> PodFailure | None:
    """No node takes the pod, or a queue holds it back."""
    for condition in pod.status.conditions or []:
        if condition.type != "PodScheduled" or condition.status == "True":
            continue
        if condition.reason == "SchedulingGated":
            gates = ", ".join(gate.name for gate in (pod.spec.scheduling_gates or [])) if pod.spec else ""
            return PodFailure("queued", f"the pod waits in a queue ({gates or condition.message})", False)
        if condition.reason == "Unschedulable":
            return PodFailure("unschedulable", _unschedulable(pod, condition.message or ""), False)
    return None


def _unschedulable(pod: V1Pod, message: str) -> str:
    """The scheduler's reasons, and how much the pod asks of what is short."""
    reasons = re.split(r"\.? (?:preemption|no new claims)", message)[0].rstrip(". ")
    requests = [container.resources.requests or {} for container in _containers(pod) if container.resources]
    wanted = []
    for resource in re.findall(r"Insufficient ([\w./-]*\w)", reasons):
        if amounts := [str(request[resource]) for request in requests if request.get(resource)]:
            wanted.append(f"{' + '.join(amounts)} {resource}")
    return f"no node takes the pod: {reasons}" + (f"; it asks for {', '.join(wanted)}" if wanted else "")
