"""What keeps the pods of a TrainJob from training, and how long that is waited for."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from components.core.errors import UserError
from components.core.progress import say
from components.kubernetes.client import Cluster
from components.kubernetes.events import failed_creations, node_is_coming
from components.kubernetes.troubles import Trouble, refusal_of, trouble_of
from components.training.launch.trainjob import Manifest, TrainJob

REFUSED = 60.0  # seconds that pods may be refused: those that still end count against a quota
REMEDIES = {
    "unschedulable": "Free or add such nodes, ask for less in resources, or raise resources.schedule_timeout.",
    "quota": "Ask for less in resources, or have the namespace's quota raised.",
    "admission": "Change resources or cluster of the recipe, or the namespace's rules and accounts.",
}


class Wait:
    """The troubles of one TrainJob that were seen last, each with the time when it began."""

    def __init__(self, job: TrainJob, cluster: Cluster) -> None:
        self.job, self.cluster = job, cluster
        self._since: dict[str, float] = {}
        self._told: set[str] = set()

    def look(self, there: Manifest, pods: list[Any]) -> None:
        """Tells what is new. Raises UserError for what waiting does not help against, or no longer."""
        found, now = list(self._troubles(there, pods)), time.monotonic()
        self._since = {trouble.kind: self._since.get(trouble.kind, now) for trouble, _ in found}
        for trouble, patience in found:
            if now - self._since[trouble.kind] >= patience:
                raise UserError(
                    f"training {self.job.model}: {trouble.text}",
                    REMEDIES.get(trouble.kind, "Correct the recipe's resources or cluster, then run again."),
                )
            if trouble.text not in self._told:
                self._told.add(trouble.text)
                say(f"training {self.job.model} waits: {trouble.text}")

    def _troubles(self, there: Manifest, pods: list[Any]) -> Iterator[tuple[Trouble, float]]:
        """Each with the seconds that it may last."""
        if there.get("spec", {}).get("suspend"):
            yield Trouble("queued", "the TrainJob is suspended, as it is in a queue", False), math.inf
        elif len(pods) < self.job.pods.nodes:
            events = failed_creations(self.cluster, self.job.name, _made(there))
            if refusal := refusal_of(None, events):
                yield refusal, REFUSED
        for pod in pods:
            if pod.status.phase == "Pending" and (trouble := trouble_of(pod)):
                yield trouble, self._patience(trouble, pod)

    def _patience(self, trouble: Trouble, pod: Any) -> float:
        """Nodes come free within `resources.schedule_timeout` or are added; queues move when they move."""
        if trouble.final:
            return 0.0
        coming = trouble.kind != "unschedulable" or node_is_coming(self.cluster, pod)
        return math.inf if coming else self.job.pods.schedule_timeout


def _made(there: Manifest) -> datetime | None:
    made = there.get("metadata", {}).get("creationTimestamp")
    return datetime.fromisoformat(made) if made else None
