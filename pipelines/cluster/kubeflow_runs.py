"""Runs of Kubeflow Pipelines, with the state of their pods: Kubeflow calls a run RUNNING whose pod never starts."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import cached_property
from typing import Any

from components.core.errors import UserError
from components.kubernetes.client import Cluster, connect
from components.kubernetes.objects import selector
from components.kubernetes.removal import free_servers
from pipelines.cluster.courses import not_told, watched, with_steps
from pipelines.cluster.job_runs import creation_failures
from pipelines.cluster.kubeflow import KubeflowError, kfp_client, named
from pipelines.cluster.pod_states import describe, follow_pods, pods_of
from pipelines.runs import RECENT, Run, is_label_value
from pipelines.watch.reading import Reading

RUN_ID = "pipeline/runid"  # the label that Kubeflow gives to the pods of a run
OVER = ("succeeded", "failed", "canceled", "skipped")
ARGO = ("argoproj.io", "v1alpha1")
_GROUP = re.compile(r"root|loop|executor|exit-handler-\d+|.*\(\d+\)")  # the latter is one node of a step or group
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class KubeflowRuns:
    """The kind `kubeflow`. Its pods are looked for in the namespace, where a cluster can be reached."""

    name = "kubeflow"

    def __init__(self, host: str = "", namespace: str = "") -> None:
        self._host, self._namespace = host, namespace

    @cached_property
    def cluster(self) -> Cluster:
        return connect(self._namespace)

    def recent(self) -> list[Run]:
        with kfp_client(self._host, self._namespace) as client:
            listed = client.list_runs(page_size=RECENT, sort_by="created_at desc").runs or []
            return [_run(run) for run in listed]

    def find(self, run: str) -> list[Run]:
        if _UUID.fullmatch(run):
            try:
                return [self._get(run)]
            except KubeflowError as error:
                if error.status != 404:
                    raise
                return []
        with kfp_client(self._host, self._namespace) as client:
            listed = client.list_runs(page_size=RECENT, sort_by="created_at desc", filter=named(run)).runs
            return [_run(client.get_run(known.run_id)) for known in listed or []]

    def with_steps(self, runs: list[Run]) -> list[Run]:
        """With what Argo says of those that failed, where nothing else does, and with the run's own records."""
        try:
            cluster = self.cluster
        except UserError as error:
            return [not_told(run, error) for run in runs]
        told = [replace(run, step=self._word_of_argo(run)) if run.state == "failed" else run for run in runs]
        return with_steps(cluster, told)

    def watched(self, run: Run) -> AbstractContextManager[Callable[[], Reading]]:
        """A long run goes on in another Kubeflow run of its name: the newest one counts."""
        return watched(self.cluster, run, lambda: next(iter(self.find(run.name)), self._get(run.id)).state)

    def _word_of_argo(self, run: Run) -> str:
        """Why a Workflow failed that no step could fail: too large, past its deadline."""
        try:
            found = self.cluster.custom.list_namespaced_custom_object(
                *ARGO, self.cluster.namespace, "workflows", label_selector=f"{RUN_ID}={run.id}"
            )
        except UserError:
            return run.step
        return "; ".join(filter(None, (item.get("status", {}).get("message") for item in found["items"]))) or run.step

    def _get(self, run_id: str) -> Run:
        with kfp_client(self._host, self._namespace) as client:
            return _run(client.get_run(run_id))

    def details(self, run: Run) -> list[str]:
        lines = [*([f"its id is {run.id}"] if run.id else []), *run.notes]
        try:
            pods = self._pods(run)
            for label in run.labels:
                pods += pods_of(self.cluster, selector(run=label))
            for pod in pods:
                if pod.status.phase != "Succeeded":  # of those there are two for every step
                    lines += describe(self.cluster, pod)
            for label in run.labels:
                lines += creation_failures(self.cluster, label)
        except UserError as error:
            lines.append(f"what its pods say is not known: {error.problem}")
        return lines

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
            freed = [line for label in run.labels for line in free_servers(self.cluster, label)]
            return [*done, *dict.fromkeys(freed)]  # a refusal is the same for each
        except UserError as error:
            return [*done, f"whether it left servers is not known: {error.problem}"]


def _run(answer: Any) -> Run:
    """A run of the API's. Its step is the task that Kubeflow calls running, until its own records are read.

    Its objects may be labelled with its parameter `run`, with its id where that is empty, or, as srlm submits it, with
    its name.
    """
    state = str(answer.state or "unknown").lower()
    if state == "failed" and any(one.state == "CANCELING" for one in answer.state_history or []):
        state = "canceled"  # Kubeflow calls a run failed whose Workflow it has ended
    step = str(answer.error.message) if answer.error and answer.error.message else ""
    if not step and state not in OVER:
        step = ", ".join(_running((answer.run_details.task_details if answer.run_details else None) or []))
    parameters = (answer.runtime_config.parameters if answer.runtime_config else None) or {}
    names = (answer.run_id, str(parameters.get("run") or ""), answer.display_name)
    labels = tuple(dict.fromkeys(name for name in names if is_label_value(name)))
    store = str(parameters.get("store") or "")
    return Run("kubeflow", answer.display_name, state, answer.created_at, step, answer.run_id, labels, store)


def _running(tasks: list[Any]) -> list[str]:
    """The names of the steps that run, without the groups and nodes of which Argo makes tasks as well."""
    workflows = {str(child.pod_name).rpartition("-")[0] for task in tasks for child in task.child_tasks or []}
    running = {str(task.display_name).removesuffix("-driver") for task in tasks if task.state == "RUNNING"}
    return sorted(name for name in running - workflows if not _GROUP.fullmatch(name))
