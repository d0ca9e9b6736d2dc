"""Whether a node is on its way, by what autoscalers say of a pod in events."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from kubernetes.client import CoreV1Event, V1EventSource, V1ObjectMeta, V1ObjectReference

from components.kubernetes.events import node_is_coming

START = datetime(2026, 11, 26, tzinfo=UTC)


def event(reason: str, second: int, by: str = "", old_form: bool = True) -> CoreV1Event:
    at = START + timedelta(seconds=second)
    when = {"last_timestamp": at} if old_form else {"event_time": at}
    source = {"source": V1EventSource(component=by)} if old_form else {"reporting_component": by}
    return CoreV1Event(involved_object=V1ObjectReference(), metadata=V1ObjectMeta(), reason=reason, **when, **source)


@pytest.mark.parametrize(
    ("events", "coming"),
    [
        ([], False),
        ([event("FailedScheduling", 1, "default-scheduler")], False),
        ([event("TriggeredScaleUp", 1, "cluster-autoscaler")], True),
        ([event("Nominated", 1, "karpenter"), event("FailedScheduling", 5, "default-scheduler")], True),
        ([event("Nominated", 1, "karpenter", old_form=False)], True),
        ([event("Nominated", 1, "karpenter"), event("FailedScheduling", 5, "karpenter")], False),  # nothing to be had
        ([event("FailedScheduling", 1, "karpenter", old_form=False), event("Nominated", 9, "karpenter")], True),
        ([event("NotTriggerScaleUp", 9, "cluster-autoscaler"), event("TriggeredScaleUp", 1)], False),
        ([event("AcceptedProvisioningRequest", 1, "cluster-autoscaler")], True),
    ],
)
def test_what_an_autoscaler_said_last_counts(events: list[CoreV1Event], coming: bool) -> None:
    asked: list[str] = []

    def list_events(namespace: str, field_selector: str) -> Any:
        asked.append(field_selector)
        return SimpleNamespace(items=events)

    cluster = SimpleNamespace(namespace="runs", core=SimpleNamespace(list_namespaced_event=list_events))
    pod = SimpleNamespace(metadata=SimpleNamespace(name="p"))
    assert node_is_coming(cluster, pod) is coming  # type: ignore[arg-type]
    assert asked == ["involvedObject.name=p"]
