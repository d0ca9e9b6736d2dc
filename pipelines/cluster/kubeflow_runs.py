"""Runs of Kubeflow Pipelines, and what their pods say: Kubeflow itself calls a run RUNNING whose pod never starts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cached_property
from typing import Any

from components.core.errors import UserError
from components.kubernetes.client import Cluster, connect
from components.kubernetes.labels import selector
from pipelines.cluster.cancel import free_servers
from pipelines.cluster.job_runs import refused_pods
from pipelines.cluster.kubeflow import KubeflowError, kfp_client, named
from pipelines.cluster.names import is_label_value
from pipelines.cluster.pod_states import describe, follow_pods, pods_of
from pipelines.cluster.runs import RECENT, Run

RUN_ID = "pipeline/runid"  # the label that Kubeflow gives to the pods of a run
OVER = ("succeeded", "failed", "canceled", "skipped")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class KubeflowRuns:
    """The kind `kubeflow`. Its pods are looked for in the namespace, where a cluster can be asked."""

    name = "kubeflow"

    def __init__(self, host: str = "", namespace: str = "") -> None:
        self._host, self._namespace = host, namespace

    @cached_property
    def cluster(self) -> Cluster:
        return connect(self._namespace)

    def recent(self) -> list[Run]:
        with kfp_client(self._host, self._namespace) as client:
            listed = client.list_runs(page_size=RECENT, sort_by="created_at desc").runs or []
            return [_run(one) for one in listed]

    def find(self, run: str) -> list[Run]:
        if _UUID.fullmatch(run):
            return self._by_id(run)
        with kfp_client(self._host, self._namespace) as client:
            listed = client.list_runs(page_size=RECENT, sort_by="created_at desc", filter=named(run)).runs
            return [_run(client.get_run(one.run_id)) for one in listed or []]

    def _by_id(self, run_id: str) -> list[Run]:
        try:
            return [self._get(run_id)]
        except KubeflowError as error:
            if error.status != 404:
                raise
            return []

    def _get(self, run_id: str) -> Run:
        with kfp_client(self._host, self._namespace) as client:
            return _run(client.get_run(run_id))

    def said(self, run: Run) -> list[str]:
        lines = [] if not run.id else [f"its id is {run.id}"]
        try:
            pods = self._pods(run) + [pod for one in run.labels for pod in pods_of(self.cluster, selector(run=one))]
            lines += [line for pod in pods if _counts(pod) for line in describe(self.cluster, pod)]
            return lines + [line for one in run.labels for line in refused_pods(self.cluster, one)]
        except UserError as error:
            return [*lines, f"what its pods say is not known: {error.problem}"]

    def _pods(self, run: Run) -> list[Any]:
        return pods_of(self.cluster, f"{RUN_ID}={run.id}")

    def log(self, run: Run, follow: bool) -> Iterator[str]:
        def steps() -> list[Any]:
            return [pod for pod in self._pods(run) if "-driver" not in pod.metadata.name]

        yield from follow_pods(self.cluster, steps, lambda: self._get(run.id).state in OVER, follow, prefix=True)

    def cancel(self, run: Run) -> list[str]:
        """The exit step frees the servers as well; where it cannot (no node, no image), this does."""
        done = []
        if run.state not in OVER:
            with kfp_client(self._host, self._namespace) as client:
                client.terminate_run(run.id)
            done.append(f"asked Kubeflow Pipelines to end the run {run.id}; its exit step still runs")
        try:
            freed = [line for one in run.labels for line in free_servers(self.cluster, one)]
            return [*done, *dict.fromkeys(freed)]  # a refusal is the same for each
        except UserError as error:
            return [*done, f"whether it left servers is not known: {error.problem}"]


def _counts(pod: Any) -> bool:
    """Of the pods that have done their work there are two for every step."""
    return bool(pod.status.phase != "Succeeded")


def _run(found: Any) -> Run:
    state = str(found.state or "unknown").lower()
    step = _cause(found) or _steps(found)
    return Run("kubeflow", found.display_name, state, found.created_at, step, found.run_id, _labels(found))


def _labels(found: Any) -> tuple[str, ...]:
    """What the run may call itself: its parameter `run`; its id where that is empty; its name, as srlm submits it."""
    given = (found.runtime_config.parameters if found.runtime_config else None) or {}
    names = (found.run_id, str(given.get("run") or ""), found.display_name)
    return tuple(dict.fromkeys(name for name in names if is_label_value(name)))


def _cause(found: Any) -> str:
    return str(found.error.message) if found.error and found.error.message else ""


def _steps(found: Any) -> str:
    """The steps that run now, without the drivers that Kubeflow runs before each."""
    details = (found.run_details.task_details if found.run_details else None) or []
    names = [str(task.display_name) for task in details if task.state == "RUNNING" and task.display_name]
    return ", ".join(sorted(name for name in names if "driver" not in name and not name.startswith("root")))
