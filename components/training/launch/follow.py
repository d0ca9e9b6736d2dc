"""A TrainJob, which a step makes, follows and, when it is stopped, removes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from components.core.errors import UserError
from components.core.progress import say, warn
from components.kubernetes.client import Cluster, ClusterError, connect, if_found, if_there
from components.kubernetes.diagnosis import PodFailure, diagnose
from components.kubernetes.events import diagnose_creation, failed_creations
from components.kubernetes.objects import owner_of_this_step
from components.kubernetes.wait import Wait, WaitPolicy, remedies
from components.training.launch.logs import Log, PodLogs, ending_with_this_process
from components.training.launch.request import LESS_MEMORY
from components.training.launch.trainjob import GROUP, PLURAL, VERSION, Manifest, TrainJob, manifest

POLL_INTERVAL_S = 3.0
REMOVAL_TIMEOUT_S = 120.0
REFUSAL_TIMEOUT_S = 60.0  # that pods may be refused: those that still end count against a quota


def follow(job: TrainJob, cluster: Cluster | None = None) -> None:
    """Make the TrainJob, or find it where a step before this one made it, and wait for its end with its logs here.

    Raises UserError with the workers' own message or the end of their log. A step that is stopped removes its job.
    """
    cluster = cluster or connect(patience=job.cluster.patience)
    _create(job, cluster)
    log = Log()
    with ending_with_this_process(lambda: remove(job, cluster)):
        logs, wait = PodLogs(cluster, job.name, log), Wait(cluster, _policy(job), f"training {job.model}")
        while (ended := _poll(job, cluster, logs, wait)) is None:
            time.sleep(POLL_INTERVAL_S)
        logs.finish()
        short = [failure.text for pod in logs.poll() if (failure := diagnose(pod)) and failure.kind == "out_of_memory"]
    remove(job, cluster)
    if ended and short:  # the others' logs say no more than that it was gone
        raise UserError(f"the TrainJob {job.name} failed: {short[0]}", LESS_MEMORY)
    if ended:
        raise log.error(f"the TrainJob {job.name} failed ({ended})")


def _policy(job: TrainJob) -> WaitPolicy:
    return WaitPolicy(
        limits={
            "unschedulable": job.pods.schedule_timeout,
            "quota": REFUSAL_TIMEOUT_S,
            "admission": REFUSAL_TIMEOUT_S,
        },
        remedies=remedies("resources", "resources.schedule_timeout"),
        other_remedy="Correct the recipe's resources or cluster, then run again.",
    )


def _create(job: TrainJob, cluster: Cluster) -> None:
    """A job that has ended was left by a step that died; training goes on from its checkpoint in a new one."""
    earlier = current(job, cluster)
    if earlier and outcome(earlier) is not None:
        remove(job, cluster)
    owner = owner_of_this_step(cluster)
    body = manifest(job, _runtime_kind(job, cluster), owner)
    try:
        cluster.custom.create_namespaced_custom_object(GROUP, VERSION, cluster.namespace, PLURAL, body)
        say(f"training {job.model} on {job.pods.nodes} nodes as TrainJob {job.name}")
    except ClusterError as error:
        if error.status == 404:
            raise UserError(
                f"the cluster knows no TrainJob, which training on {job.pods.nodes} nodes takes",
                "Install Kubeflow Trainer 2.3, or set resources.nodes to 1.",
            ) from error
        if error.status != 409:
            raise
        say(f"following the TrainJob {job.name}, which is there already")
        _adopt(job, cluster, owner)


def _adopt(job: TrainJob, cluster: Cluster, owner: Mapping[str, Any] | None) -> None:
    """A job that an earlier step made goes with this step's run from now on, and no longer with the one before.

    Where the account may not change it (a chart before this version), it is followed all the same.
    """
    if not owner:
        return
    patch = {"metadata": {"ownerReferences": [dict(owner)]}}
    try:
        cluster.custom.patch_namespaced_custom_object(GROUP, VERSION, cluster.namespace, PLURAL, job.name, patch)
    except ClusterError as error:
        if error.status not in (403, 404):
            raise
        warn(f"the TrainJob {job.name} goes with the run that made it: {error.problem}")


def _runtime_kind(job: TrainJob, cluster: Cluster) -> str:
    """The chart's runtime lies in the namespace; one of the cluster's administrators lies outside of it."""
    name = job.cluster.training_runtime
    where = (GROUP, VERSION, cluster.namespace, "trainingruntimes")
    found = if_found(cluster.custom.get_namespaced_custom_object, *where, name)
    return "ClusterTrainingRuntime" if found is None else "TrainingRuntime"


def _poll(job: TrainJob, cluster: Cluster, logs: PodLogs, wait: Wait) -> str | None:
    """The job's outcome; None while it goes on, and while the API server is away, which says nothing about the job.

    Even after the client's patience: who gives up here would have the job removed, and days of work begin anew.
    """
    try:
        present = current(job, cluster)
        ended = outcome(present)
        pods = logs.poll()
        if present and ended is None:
            wait.check(list(_failures(job, present, pods, cluster)))
    except ClusterError as error:
        if not error.may_pass:
            raise
        warn(f"training {job.model} goes on unseen: {error.problem}")
        return None
    return ended


def _failures(job: TrainJob, present: Manifest, pods: list[Any], cluster: Cluster) -> Iterator[tuple[PodFailure, Any]]:
    """What keeps the job's pods from training, each with its pod (None where it could not be created)."""
    if present.get("spec", {}).get("suspend"):
        yield PodFailure("queued", "the TrainJob is suspended, as it is in a queue", False), None
    elif len(pods) < job.pods.nodes:
        created = present.get("metadata", {}).get("creationTimestamp")
        events = failed_creations(cluster, job.name, datetime.fromisoformat(created) if created else None)
        if refusal := diagnose_creation(None, events):
            yield refusal, None
    for pod in pods:
        if pod.status.phase == "Pending" and (failure := diagnose(pod)):
            yield failure, pod


def current(job: TrainJob, cluster: Cluster) -> Manifest | None:
    """The job as the cluster has it, None where it is gone."""
    where = (GROUP, VERSION, cluster.namespace, PLURAL)
    present: Manifest | None = if_found(cluster.custom.get_namespaced_custom_object, *where, job.name)
    return present


def outcome(job: Manifest | None) -> str | None:
    """Empty where the job is complete, why it failed or that it is gone, None while it goes on."""
    if job is None:
        return "somebody removed it"
    conditions = {c["type"]: c for c in job.get("status", {}).get("conditions", []) if c["status"] == "True"}
    if "Complete" in conditions:
        return ""
    failed = conditions.get("Failed")
    return f"{failed.get('reason', '')}: {failed.get('message', '')}" if failed else None


def remove(job: TrainJob, cluster: Cluster) -> None:
    """Returns when the job and its pods are gone: one of the same name may follow. It waits for two minutes."""
    deadline = time.monotonic() + REMOVAL_TIMEOUT_S
    delete = cluster.custom.delete_namespaced_custom_object
    arguments = (GROUP, VERSION, cluster.namespace, PLURAL, job.name)
    while if_there(delete, *arguments, propagation_policy="Foreground") and time.monotonic() < deadline:
        time.sleep(POLL_INTERVAL_S)
