"""What keeps a pod from working, in words: Kubernetes knows it within seconds, and who only waits never hears of it."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from components.kubernetes.client import ClusterError

if TYPE_CHECKING:
    from kubernetes.client import CoreV1Api, V1ContainerState, V1ContainerStateTerminated, V1ContainerStatus, V1Pod

Kind = Literal[
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
class Trouble:
    """One trouble of a pod. `final`: waiting does not help, somebody has to change something.

    `container` is empty where the whole pod is meant; `restarts` counts how often the container was started again.
    """

    kind: Kind
    text: str
    final: bool
    container: str = ""
    restarts: int = 0


def trouble_of(pod: V1Pod) -> Trouble | None:
    """The trouble that a pod is in, the gravest first; None while it works, starts or ended well."""
    if pod.status is None or pod.status.phase == "Succeeded":
        return None
    return _ended_from_outside(pod) or _of_containers(pod) or _of_place(pod)


def _ended_from_outside(pod: V1Pod) -> Trouble | None:
    """Evicted, past its deadline, preempted, or refused by its node."""
    reason, message = pod.status.reason, (pod.status.message or "").strip()
    if reason == "DeadlineExceeded":
        seconds = pod.spec.active_deadline_seconds if pod.spec else None
        limit = f" ({seconds} s)" if seconds else ""
        return Trouble("deadline", f"the pod ran longer than it may{limit}: {message}", True)
    if pod.status.phase == "Failed" and reason:
        return Trouble("evicted", f"its node ended the pod ({reason}): {message}", True)
    for condition in pod.status.conditions or []:
        if condition.type == "DisruptionTarget" and condition.status == "True":
            return Trouble("evicted", f"the pod has to go ({condition.reason}): {condition.message}", True)
    return None


def _of_containers(pod: V1Pod) -> Trouble | None:
    found = [trouble for status in container_statuses(pod) if (trouble := _of_container(pod, status))]
    return min(found, key=lambda trouble: not trouble.final, default=None)


def container_statuses(pod: V1Pod) -> Iterator[V1ContainerStatus]:
    """Of all containers of a pod, in the order in which they start."""
    yield from pod.status.init_container_statuses or []
    yield from pod.status.container_statuses or []


def _of_container(pod: V1Pod, status: V1ContainerStatus) -> Trouble | None:
    now, before = _state(status.state), _state(status.last_state)
    reason, message = (now.waiting.reason, now.waiting.message or "") if now.waiting else ("", "")
    name = status.name
    if reason in IMAGE:
        final = bool(_NO_SUCH_IMAGE.search(f"{reason} {message}"))
        return Trouble(
            "image", f"{name}: its image {status.image} cannot be had: {_tail(message) or reason}", final, name
        )
    if reason in CONFIG:
        return Trouble("config", f"{name} cannot be started ({reason}): {message}", True, name, status.restart_count)
    if now.terminated and now.terminated.exit_code:
        return _died(pod, status, now.terminated, pod.status.phase == "Failed")
    if before.terminated and before.terminated.exit_code and not (status.ready or now.terminated):
        return _died(pod, status, before.terminated, False)
    return None


def _state(state: V1ContainerState | None) -> V1ContainerState:
    from kubernetes.client import V1ContainerState

    return state or V1ContainerState()


def _died(pod: V1Pod, status: V1ContainerStatus, end: V1ContainerStateTerminated, last: bool) -> Trouble:
    """A container that ended with an error; `last` when its pod does not start it again."""
    name, restarts = status.name, status.restart_count
    again = f", started again {restarts} times" if restarts > 1 else ", started again once" if restarts else ""
    said = (end.message or "").strip()
    if end.reason == "OOMKilled":
        limit = _memory_limit(pod, name)
        text = f"{name} needs more memory than its limit{limit and f' of {limit}'} (OOMKilled){again}"
        return Trouble("out_of_memory", text, True, name, restarts)
    if end.reason in ("StartError", "ContainerCannotRun"):
        cause = said.rpartition("unable to start container process: ")[2]
        return Trouble("config", f"{name} cannot be started: {cause}", True, name, restarts)
    text = f"{name} ended with {_exit(end.exit_code)}{again}{said and f': {said}'}"
    return Trouble("crash", text, last or restarts >= PERSISTENT_RESTARTS, name, restarts)


def _exit(code: int) -> str:
    try:
        return f"exit code {code} ({signal.Signals(code - 128).name})"
    except ValueError:
        return f"exit code {code}"


def _memory_limit(pod: V1Pod, container: str) -> str:
    specs = [*(pod.spec.init_containers or []), *(pod.spec.containers or [])] if pod.spec else []
    found = next((one.resources for one in specs if one.name == container and one.resources), None)
    return str((found.limits or {}).get("memory", "")) if found else ""


def _of_place(pod: V1Pod) -> Trouble | None:
    """No node takes the pod, or a queue holds it back."""
    for condition in pod.status.conditions or []:
        if condition.type != "PodScheduled" or condition.status == "True":
            continue
        if condition.reason == "SchedulingGated":
            gates = ", ".join(gate.name for gate in (pod.spec.scheduling_gates or [])) if pod.spec else ""
            return Trouble("queued", f"the pod waits in a queue ({gates or condition.message})", False)
        if condition.reason == "Unschedulable":
            return Trouble("unschedulable", _unschedulable(pod, condition.message or ""), False)
    return None


def _unschedulable(pod: V1Pod, message: str) -> str:
    """The scheduler's reasons, and how much the pod asks of what is short."""
    reasons = re.split(r"\.? (?:preemption|no new claims)", message)[0].rstrip(". ")
    short = re.findall(r"Insufficient ([\w./-]*\w)", reasons)
    asked = ", ".join(f"{_asked(pod, name)} {name}" for name in short if _asked(pod, name))
    return f"no node takes the pod: {reasons}" + (f"; it asks for {asked}" if asked else "")


def _asked(pod: V1Pod, resource: str) -> str:
    containers = [*(pod.spec.init_containers or []), *(pod.spec.containers or [])] if pod.spec else []
    found = [(one.resources.requests or {}).get(resource) for one in containers if one.resources]
    return " + ".join(str(amount) for amount in found if amount)


def _tail(message: str) -> str:
    """The last cause of containerd's chain, which starts with the same image name three times over."""
    return (
        message.rpartition("failed to resolve image: ")[2].strip()
        if "failed to resolve image: " in message
        else message
    )


def refusal_of(owner: Any, events: Iterable[Any] = ()) -> Trouble | None:
    """Why a Deployment's or a Job's pods cannot even be made; None where they can.

    A Deployment has it in its conditions, a Job in the events about it alone (`events`, newest last; `owner` may then
    be None).
    """
    status = owner.status if owner else None
    conditions = [one for one in (status.conditions if status else None) or [] if one.status == "True"]
    messages = [one.message for one in conditions if one.type == "ReplicaFailure"]
    messages += [one.message for one in events if one.reason == "FailedCreate"]
    return refusal(messages[-1] or "") if messages else None


def mount_trouble(events: Iterable[Any]) -> Trouble | None:
    """What a pod without a trouble of its own may still wait for: a volume; only the events about it tell."""
    found = [one.message for one in events if one.reason in ("FailedMount", "FailedAttachVolume")]
    return Trouble("config", f"a volume cannot be had: {found[-1]}", False) if found else None


def refusal(message: str) -> Trouble:
    """An admission controller's refusal of a pod, in words."""
    name, _, cause = message.partition(" is forbidden: ")
    cause = cause or name
    if "quota" in cause:
        return Trouble("quota", f"the namespace's quota refuses the pod: {cause}", True)
    if "violates PodSecurity" in cause:
        return Trouble("admission", f"the namespace's Pod Security refuses the pod: {cause}", True)
    return Trouble("admission", f"the cluster refuses the pod: {cause}", True)


def last_log_lines(core: CoreV1Api, pod: V1Pod, container: str, lines: int = 10) -> list[str]:
    """What a container said last before it ended, if it ever did; none where it cannot be had."""
    status = next((one for one in container_statuses(pod) if one.name == container), None)
    before = bool(status and not _state(status.state).terminated and _state(status.last_state).terminated)
    try:
        text = core.read_namespaced_pod_log(
            pod.metadata.name, pod.metadata.namespace, container=container, tail_lines=lines, previous=before
        )
    except ClusterError:
        return []
    return str(text or "").splitlines()
