"""A server is waited for until it is ready or cannot become it, by what a scripted cluster shows of it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from kubernetes.client import (
    V1ContainerState,
    V1ContainerStateRunning,
    V1ContainerStateTerminated,
    V1ContainerStateWaiting,
    V1ContainerStatus,
    V1Deployment,
    V1DeploymentCondition,
    V1DeploymentStatus,
    V1ObjectMeta,
    V1Pod,
    V1PodCondition,
    V1PodSpec,
    V1PodStatus,
)

from components.core.errors import UserError
from components.kubernetes.client import ClusterError
from components.kubernetes.settings import ClusterSettings
from components.serving.kubernetes import readiness
from components.serving.kubernetes.launch import ServedModel
from components.serving.kubernetes.manifests import Server
from components.serving.kubernetes.readiness import is_ready, replica_urls, wait_until_ready
from components.serving.settings import ServingSettings

MODEL = ServedModel("s3://store/models/1", "digest", "/models/1")
WEIGHTS_RUN = V1ContainerState(running=V1ContainerStateRunning())
DONE = V1ContainerState(terminated=V1ContainerStateTerminated(exit_code=0))
CRASHED = V1ContainerState(terminated=V1ContainerStateTerminated(exit_code=3))


def status(name: str, state: V1ContainerState) -> V1ContainerStatus:
    return V1ContainerStatus(name=name, image="i:1", image_id="", ready=False, restart_count=0, state=state)


def pod(*, node: str | None = "node", weights: Any = None, server: Any = None, conditions: Any = None) -> V1Pod:
    return V1Pod(
        metadata=V1ObjectMeta(name="p", namespace="t"),
        spec=V1PodSpec(containers=[], node_name=node),
        status=V1PodStatus(
            phase="Pending",
            init_container_statuses=[status("weights", weights)] if weights else None,
            container_statuses=[status("server", server)] if server else None,
            conditions=conditions,
        ),
    )


def deployment(ready: int = 0, refused: str = "") -> V1Deployment:
    failure = V1DeploymentCondition(type="ReplicaFailure", status="True", reason="FailedCreate", message=refused)
    counts = {"observed_generation": 1, "updated_replicas": ready, "available_replicas": ready}
    shown = V1DeploymentStatus(conditions=[failure] if refused else None, **counts)
    return V1Deployment(metadata=V1ObjectMeta(name="d", generation=1), status=shown)


class ScriptedCluster:
    """Shows one Deployment and its pods after the other, the last again and again; without any it knows none."""

    namespace = "t"

    def __init__(self, *polls: tuple[V1Deployment, list[V1Pod]]) -> None:
        self.polls = list(polls)
        self.core = self.apps = self

    def read_namespaced_deployment(self, name: str, namespace: str) -> V1Deployment:
        if not self.polls:
            raise ClusterError("it is not there", "", 404)
        return self.polls[0][0]

    def list_namespaced_pod(self, namespace: str, label_selector: str) -> Any:
        pods = self.polls[0][1]
        self.polls = self.polls[1:] or self.polls
        return SimpleNamespace(items=pods)

    def list_namespaced_event(self, namespace: str, field_selector: str) -> Any:
        return SimpleNamespace(items=[])

    def read_namespaced_pod_log(self, name: str, namespace: str, **_: Any) -> str:
        return "no such file"


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "POLL_INTERVAL_S", 0)


def wait(*polls: tuple[V1Deployment, list[V1Pod]], **settings: Any) -> None:
    wait_until_ready(ScriptedCluster(*polls), server(**settings))  # type: ignore[arg-type]


def server(**settings: Any) -> Server:
    images = {"worker_image": "worker:1", "engine_image": ""}
    asked = {"settings": ServingSettings(**settings), "cluster": ClusterSettings()}
    return Server(run="run", name="m1", engine="tgi", model=MODEL, **asked, **images)


def test_the_phases_of_a_start_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    """The least advanced of several pods counts."""
    starting = V1ContainerState(waiting=V1ContainerStateWaiting(reason="PodInitializing"))
    wait(
        (deployment(), []),
        (deployment(), [pod(node=None)]),
        (deployment(), [pod()]),
        (deployment(), [pod(weights=WEIGHTS_RUN), pod(weights=DONE, server=WEIGHTS_RUN)]),
        (deployment(), [pod(weights=DONE, server=starting)]),
        (deployment(), [pod(weights=DONE, server=WEIGHTS_RUN)]),
        (deployment(ready=1), []),
    )
    told = capsys.readouterr().err
    phases = ["waiting for a pod", "waiting for a node", "pulling images", "fetching weights"]
    phases += ["pulling the engine's image", "loading the model"]
    assert told.splitlines() == [f"m1: {phase} (0 s)" for phase in phases]


def test_each_replica_that_is_ready_can_be_asked_by_itself() -> None:
    """Neither one that starts nor one that ends."""

    def replica(ip: str, ready: str, ends: bool = False) -> V1Pod:
        made = pod(server=WEIGHTS_RUN, conditions=[V1PodCondition(type="Ready", status=ready)])
        made.status.pod_ip, made.metadata.deletion_timestamp = ip, "now" if ends else None
        return made

    pods = [replica("10.0.0.2", "True"), replica("fd00::1", "True"), replica("10.0.0.3", "False")]
    shown = ScriptedCluster((deployment(2), [*pods, replica("10.0.0.4", "True", ends=True), pod()]))
    assert replica_urls(shown, server(replicas=3)) == ["http://10.0.0.2:8080", "http://[fd00::1]:8080"]  # type: ignore[arg-type]


def test_a_server_that_crashes_while_it_starts_is_not_waited_for_and_its_log_is_shown() -> None:
    """Once is enough, though Kubernetes would start it again."""
    crashed = pod(weights=DONE, server=CRASHED)
    with pytest.raises(UserError, match=r"(?s)m1 cannot be served: server ended with exit code 3\n  no such file.*log"):
        wait((deployment(), [crashed]))


def test_a_refused_pod_ends_the_wait() -> None:
    refusal = 'pods "x" is forbidden: exceeded quota: small'
    with pytest.raises(UserError, match="m1 cannot be served: the namespace's quota refuses the pod: exceeded quota"):
        wait((deployment(refused=refusal), []))


def test_a_pod_without_a_node_is_waited_for_no_longer_than_the_recipe_says() -> None:
    nowhere = V1PodCondition(type="PodScheduled", status="False", reason="Unschedulable", message="Insufficient gpu")
    with pytest.raises(UserError, match=r"no node takes the pod: Insufficient gpu.*serving.schedule_timeout"):
        wait((deployment(), [pod(node=None, conditions=[nowhere])]), schedule_timeout=0)


GONE = V1PodCondition(type="DisruptionTarget", status="True", reason="PreemptionByScheduler", message="by another")
NOWHERE = V1PodCondition(type="PodScheduled", status="False", reason="Unschedulable", message="Insufficient gpu")


def evicted() -> V1Pod:
    """As the node leaves it: failed, and not deleted."""
    pod_ = pod(weights=DONE, server=CRASHED)
    pod_.status.phase, pod_.status.reason, pod_.status.message = "Failed", "Evicted", "low on memory"
    return pod_


@pytest.mark.parametrize("lost", [evicted(), pod(weights=DONE, server=WEIGHTS_RUN, conditions=[GONE])])
def test_a_pod_that_is_taken_away_is_replaced_and_waited_for(lost: V1Pod, capsys: pytest.CaptureFixture[str]) -> None:
    """Even where its place was taken and there is no node for a while: the recipe's limit is for a first start."""
    wait(
        (deployment(), [lost]),
        (deployment(), [lost, pod(node=None, conditions=[NOWHERE])]),
        (deployment(), [lost, pod(weights=DONE, server=WEIGHTS_RUN)]),
        (deployment(ready=1), [lost]),
        schedule_timeout=0,
    )
    told = [line.removeprefix("m1: ").removesuffix(" (0 s)") for line in capsys.readouterr().err.splitlines()]
    assert told[0].endswith("; another takes its place") and ("Evicted" in told[0] or "Preemption" in told[0])
    assert told[1:] == ["waiting for a pod", "no node takes the pod: Insufficient gpu", "loading the model"]


def test_a_server_that_was_ready_may_crash_once_and_start_again() -> None:
    """Kubernetes starts it again by itself; the third time in a row it is believed."""
    once = V1ContainerStatus(name="server", image="i:1", image_id="", ready=False, restart_count=1, last_state=CRASHED,
                             state=WEIGHTS_RUN)  # fmt: skip
    crashed = pod(weights=DONE, server=WEIGHTS_RUN)
    crashed.status.container_statuses = [once]
    polls = ((deployment(), [crashed]), (deployment(ready=1), []))
    wait_until_ready(ScriptedCluster(*polls), server(), again=True)  # type: ignore[arg-type]
    once.restart_count = 2
    with pytest.raises(UserError, match="started again 2 times"):
        wait_until_ready(ScriptedCluster(*polls), server(), again=True)  # type: ignore[arg-type]


def test_a_server_that_somebody_removes_is_not_waited_for() -> None:
    with pytest.raises(UserError, match="was removed while it was waited for"):
        wait()
    assert not is_ready(ScriptedCluster(), server())  # type: ignore[arg-type]
