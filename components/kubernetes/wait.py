"""How long a workload is waited for while something keeps its pods from working: a server, a TrainJob, a probe."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from components.core.errors import UserError
from components.core.progress import say
from components.kubernetes.client import Cluster
from components.kubernetes.diagnosis import FailureKind, PodFailure, last_log_lines
from components.kubernetes.events import node_is_coming

NOT_STARTED = ("unschedulable", "queued")  # a pod's own time has not begun
MAY_PASS = ("quota", "admission")  # although they are permanent for the pod: others end and free a quota


def remedies(resources: str, schedule_timeout: str) -> dict[FailureKind, str]:
    """Of what every workload may meet; the arguments name the recipe's settings for it."""
    return {
        "unschedulable": f"Free or add such nodes, ask for less in {resources}, or raise {schedule_timeout}.",
        "quota": f"Ask for less in {resources}, or have the namespace's quota raised.",
        "admission": f"Change {resources} or cluster of the recipe, or the namespace's rules and accounts.",
    }


@dataclass(frozen=True)
class WaitPolicy:
    """How many seconds a failure of each kind may last, and what to do about it.

    A permanent failure ends the wait at once, unless it is a refusal: for those `limits` says how long. A pod without a
    node is waited for without a limit while an autoscaler adds one. `timeout_s` is for the workload as a whole, from
    the moment when its pods have nodes.
    """

    limits: Mapping[FailureKind, float]
    remedies: Mapping[FailureKind, str]
    other_remedy: str
    other_limit: float = math.inf
    timeout_s: float = math.inf
    timeout_remedy: str = ""
    log_lines: int = 0  # of a container that failed, to show

    def limit(self, failure: PodFailure) -> float:
        if failure.permanent and failure.kind not in MAY_PASS:
            return 0.0
        return self.limits.get(failure.kind, self.other_limit)


class Wait:
    """The failures of one workload at the last poll, each kind with the time since when it lasts."""

    def __init__(self, cluster: Cluster, policy: WaitPolicy, subject: str, problem: str = "") -> None:
        """`subject` begins the lines that tell what goes on, `problem` (the same if empty) the error."""
        self.cluster, self.policy = cluster, policy
        self.subject, self.problem = subject, problem or subject
        self.started = time.monotonic()
        self._since: dict[FailureKind, float] = {}
        self._shown: list[str] = []

    def check(self, failures: Sequence[tuple[PodFailure, Any]], phase: str = "", notes: Sequence[str] = ()) -> None:
        """Say what is new. Raises UserError for what waiting does not help against, or no longer.

        With each failure comes its pod, None where it could not be created. `phase` is what goes on without failures,
        `notes` are to be told besides.
        """
        now = time.monotonic()
        self._since = {failure.kind: self._since.get(failure.kind, now) for failure, _ in failures}
        for failure, pod in failures:
            over = now - self._since[failure.kind] >= self.policy.limit(failure)
            if over and not (failure.kind == "unschedulable" and node_is_coming(self.cluster, pod)):
                raise self._error(failure, pod)
            if failure.kind in NOT_STARTED:
                self.started = now
        self._show([*notes, *([failure.text for failure, _ in failures] or [phase])])
        if now - self.started > self.policy.timeout_s:
            last = "; ".join(filter(None, self._shown)) or "nothing is known of it"
            raise UserError(
                f"{self.subject} was not ready after {self.policy.timeout_s:.0f} s ({last})",
                self.policy.timeout_remedy,
            )

    def _show(self, texts: list[str]) -> None:
        for text in dict.fromkeys(texts):
            if text and text not in self._shown:
                say(f"{self.subject}: {text} ({time.monotonic() - self.started:.0f} s)")
        self._shown = texts

    def _error(self, failure: PodFailure, pod: Any) -> UserError:
        log: list[str] = []
        if self.policy.log_lines and failure.container:
            log = last_log_lines(self.cluster.core, pod, failure.container, self.policy.log_lines)
        shown = "".join(f"\n  {line}" for line in log)
        remedy = self.policy.remedies.get(failure.kind, self.policy.other_remedy)
        return UserError(f"{self.problem}: {failure.text}{shown}", remedy)
