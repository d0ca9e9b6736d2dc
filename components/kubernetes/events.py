"""What the cluster tells about an object in events alone. It keeps them for an hour."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

from components.kubernetes.client import Cluster


def node_is_coming(cluster: Cluster, pod: Any) -> bool:
    """Whether an autoscaler adds a node for a pod that found none."""
    about = f"involvedObject.name={pod.metadata.name},reason=TriggeredScaleUp"
    return bool(cluster.core.list_namespaced_event(cluster.namespace, field_selector=about).items)


def failed_creations(cluster: Cluster, job_set: str, since: datetime | None) -> list[Any]:
    """What kept a JobSet's Jobs from making their pods since then, newest last.

    Its Jobs are called `<job set>-<replicated job>-<number>`; an earlier JobSet of the same name left events, too.
    """
    about = "involvedObject.kind=Job,reason=FailedCreate"
    found = cluster.core.list_namespaced_event(cluster.namespace, field_selector=about).items
    name = re.compile(rf"{re.escape(job_set)}-[a-z][a-z0-9-]*-\d+")
    ours = [one for one in found if name.fullmatch(one.involved_object.name or "")]
    timed = [(one.last_timestamp or one.event_time or one.metadata.creation_timestamp, one) for one in ours]
    return [one for when, one in sorted(timed, key=lambda pair: pair[0]) if since is None or when >= since]
