"""Runs that a Kubernetes Job executes, and Jobs that submit a run to Kubeflow Pipelines."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import cached_property
from typing import Any

from components.kubernetes.client import Cluster, connect
from components.kubernetes.diagnosis import last_log_lines
from components.kubernetes.objects import COMPONENT, RUN, selector
from components.kubernetes.removal import free_servers, remove_job
from pipelines.cluster.courses import watched, with_steps
from pipelines.cluster.pod_states import OLDEST, creation_failure, describe, follow_pods, pods_of
from pipelines.runs import RECENT, Run, is_label_value
from pipelines.watch.reading import Reading

STEP = re.compile(r"^\[(\d+/\d+)\] (.+)")  # as the terminal shows the start of a step
LOG_LINES = 500
COMPONENTS = {"job": "run", "submission": "submission", "orphaned": "model-server"}


class JobRuns:
    """The kinds `job` and `submission`, which have a Job of the run's name, and `orphaned`: what has none any more."""

    name = "job"

    def __init__(self, namespace: str = "") -> None:
        self._namespace = namespace

    @cached_property
    def cluster(self) -> Cluster:
        return connect(self._namespace)

    def recent(self) -> list[Run]:
        jobs = self.cluster.batch.list_namespaced_job(self.cluster.namespace, label_selector=selector()).items
        jobs.sort(key=lambda job: job.metadata.creation_timestamp or OLDEST, reverse=True)
        return [_run(job) for job in jobs if RUN in job.metadata.labels][:RECENT]

    def find(self, run: str) -> list[Run]:
        jobs = self._jobs(run)
        return [_run(job, self._step(run)) for job in jobs] or self._orphaned(run)

    def with_steps(self, runs: list[Run]) -> list[Run]:
        return with_steps(self.cluster, runs)

    def watched(self, run: Run) -> AbstractContextManager[Callable[[], Reading]]:
        def state() -> str:
            return next((_state(job)[0] for job in self._jobs(run.name)), "gone")

        return watched(self.cluster, run, state)

    def _orphaned(self, run: str) -> list[Run]:
        """Servers and recipes of a run that has no Job here: Kubeflow's, or one whose Job is gone."""
        if not is_label_value(run):
            return []
        namespace, server = self.cluster.namespace, selector("model-server", run)
        servers = self.cluster.apps.list_namespaced_deployment(namespace, label_selector=server).items
        recipes = self.cluster.core.list_namespaced_config_map(namespace, label_selector=selector(run=run)).items
        since = [item.metadata.creation_timestamp for item in (*servers, *recipes)]
        state = f"servers: {len(servers)}, recipes: {len(recipes)}, without a Job"
        return [Run("orphaned", run, state, min(since))] if since else []

    def _jobs(self, run: str) -> list[Any]:
        """The run's own Job; a name that no label may hold names none."""
        if not is_label_value(run):
            return []
        listed = self.cluster.batch.list_namespaced_job(self.cluster.namespace, label_selector=selector(run=run))
        return [job for job in listed.items if job.metadata.labels.get(COMPONENT) in ("run", "submission")]

    def _step(self, run: str) -> str:
        """From the last lines of the log of the run's pod."""
        pods = pods_of(self.cluster, selector("run", run))
        for line in reversed(last_log_lines(self.cluster.core, pods[-1], "srlm", LOG_LINES) if pods else []):
            if step := STEP.match(line):
                return f"{step[2]} ({step[1]})"
        return ""

    def details(self, run: Run) -> list[str]:
        lines = [line for pod in pods_of(self.cluster, selector(run=run.name)) for line in describe(self.cluster, pod)]
        return [*run.notes, *lines, *creation_failures(self.cluster, run.name)]

    def log(self, run: Run, follow: bool) -> Iterator[str]:
        chosen = selector(COMPONENTS[run.kind], run.name)

        def ended() -> bool:
            return all(_state(job)[0] in ("finished", "failed") for job in self._jobs(run.name))

        yield from follow_pods(self.cluster, lambda: pods_of(self.cluster, chosen), ended, follow)

    def cancel(self, run: Run) -> list[str]:
        return remove_job(self.cluster, run.name) + free_servers(self.cluster, run.name)


def creation_failures(cluster: Cluster, run: str) -> list[str]:
    """Jobs and servers of a run for which the cluster creates no pods, and why, in lines."""
    chosen, namespace = selector(run=run), cluster.namespace
    jobs = cluster.batch.list_namespaced_job(namespace, label_selector=chosen).items
    unfinished = [job for job in jobs if not job.status.active and _state(job)[0] == "waiting"]
    servers = cluster.apps.list_namespaced_deployment(namespace, label_selector=chosen).items
    lines = [creation_failure(cluster, job, "job") for job in unfinished]
    lines += [creation_failure(cluster, server, "server") for server in servers]
    return list(filter(None, lines))


def _run(job: Any, step: str = "") -> Run:
    state, why = _state(job)
    labels = job.metadata.labels
    kind = "submission" if labels.get(COMPONENT) == "submission" else "job"
    shown = step if state == "running" else why
    return Run(kind, labels[RUN], state, job.metadata.creation_timestamp, shown, str(job.metadata.uid))


def _state(job: Any) -> tuple[str, str]:
    """The Job's state in a word, and the cause where it has failed."""
    status = job.status
    for condition in status.conditions or []:
        if condition.status == "True" and condition.type in ("Complete", "Failed"):
            done = condition.type == "Complete"
            return ("finished", "") if done else ("failed", f"{condition.reason}: {condition.message}")
    if job.metadata.deletion_timestamp:
        return "ending", ""
    if job.spec.suspend:
        return "queued", "the Job is suspended"
    return ("running" if status.ready else "waiting"), ""
