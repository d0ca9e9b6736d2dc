"""What the cluster tells about an object in events (kept for an hour), or in the conditions of a Deployment."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from components.kubernetes.client import Cluster
from components.kubernetes.diagnosis import PodFailure

NODE_COMES = {"TriggeredScaleUp", "Nominated", "NominatePod", "AcceptedProvisioningRequest"}
NO_NODE_COMES = {"NotTriggerScaleUp"}
OLDEST = datetime.min.replace(tzinfo=UTC)


def node_is_coming(cluster: Cluster, pod: Any) -> bool:
    """Whether an autoscaler adds a node for a pod that found none, by what it said last of it.

    Karpenter says Nominated, or FailedScheduling as the scheduler does; cluster-autoscaler, which Google's and Azure's
    are, TriggeredScaleUp or NotTriggerScaleUp; with provisioning requests AcceptedProvisioningRequest.
    """
    about = f"involvedObject.name={pod.metadata.name}"
    events = cluster.core.list_namespaced_event(cluster.namespace, field_selector=about).items
    said = [event for event in events if event.reason in NODE_COMES | NO_NODE_COMES or _is_karpenter_s(event)]
    newest = max(said, key=_time_of, default=None)
    return newest is not None and newest.reason in NODE_COMES


def _is_karpenter_s(event: Any) -> bool:
    """The scheduler's own events of a pod without a node come as long as there is none, and say nothing of one."""
    by = (event.reporting_component, event.source.component if event.source else None)
    return event.reason == "FailedScheduling" and "karpenter" in by


def _time_of(event: Any) -> Any:
    """When an event happened last; older and newer forms say it in different places."""
    return event.last_timestamp or event.event_time or event.metadata.creation_timestamp or OLDEST


def failed_creations(cluster: Cluster, job_set: str, since: datetime | None) -> list[Any]:
    """Events that say why a JobSet's Jobs could not create their pods since then, newest last.

    Its Jobs are called `<job set>-<replicated job>-<number>`; an earlier JobSet of the same name left events, too.
    """
    about = "involvedObject.kind=Job,reason=FailedCreate"
    events = cluster.core.list_namespaced_event(cluster.namespace, field_selector=about).items
    job_name = re.compile(rf"{re.escape(job_set)}-[a-z][a-z0-9-]*-\d+")
    own = [event for event in events if job_name.fullmatch(event.involved_object.name or "")]
    timed = [(_time_of(event), event) for event in own]
    return [event for when, event in sorted(timed, key=lambda pair: pair[0]) if since is None or when >= since]


def diagnose_creation(owner: Any, events: Iterable[Any] = ()) -> PodFailure | None:
    """Why a Deployment's or a Job's pods cannot even be created; None where they can.

    A Deployment has it in its conditions, a Job in the events about it alone (`events`, newest last; `owner` may then
    be None).
    """
    status = owner.status if owner else None
    conditions = (status.conditions if status else None) or []
    refused = [known for known in conditions if known.type == "ReplicaFailure" and known.status == "True"]
    messages = [condition.message for condition in refused]
    messages += [event.message for event in events if event.reason == "FailedCreate"]
    return _refusal(messages[-1] or "") if messages else None


def _refusal(message: str) -> PodFailure:
    """An admission controller's refusal of a pod, in words."""
    name, _, cause = message.partition(" is forbidden: ")
    cause = cause or name
    if "quota" in cause:
        return PodFailure("quota", f"the namespace's quota refuses the pod: {cause}", True)
    if "violates PodSecurity" in cause:
        return PodFailure("admission", f"the namespace's Pod Security refuses the pod: {cause}", True)
    return PodFailure("admission", f"the cluster refuses the pod: {cause}", True)


def diagnose_mount(events: Iterable[Any]) -> PodFailure | None:
    """The volume that a pod still waits for though its status shows no failure; only the events about it tell."""
    messages = [event.message for event in events if event.reason in ("FailedMount", "FailedAttachVolume")]
    return PodFailure("config", f"a volume cannot be had: {messages[-1]}", False) if messages else None
