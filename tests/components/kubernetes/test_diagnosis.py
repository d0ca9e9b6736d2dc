"""What a pod's status says, in words. The messages are those of Kubernetes 1.36 with containerd 2.3."""

from __future__ import annotations

from typing import Any

import pytest
from kubernetes.client import (
    V1Container,
    V1ContainerState,
    V1ContainerStateRunning,
    V1ContainerStateTerminated,
    V1ContainerStateWaiting,
    V1ContainerStatus,
    V1Deployment,
    V1DeploymentCondition,
    V1DeploymentStatus,
    V1Job,
    V1JobStatus,
    V1ObjectMeta,
    V1Pod,
    V1PodCondition,
    V1PodSchedulingGate,
    V1PodSpec,
    V1PodStatus,
    V1ResourceRequirements,
)

from components.kubernetes.diagnosis import diagnose, last_log_lines
from components.kubernetes.events import diagnose_creation, diagnose_mount

NO_GPU = (
    "0/1 nodes are available: 1 Insufficient nvidia.com/gpu. no new claims to deallocate, "
    "preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
)
UNREACHABLE = (
    'Back-off pulling image "localhost/none:1": ErrImagePull: failed to pull and unpack image "localhost/none:1": '
    'failed to resolve image: failed to do request: Head "https://localhost/v2/none/manifests/1": '
    "dial tcp 127.0.0.1:443: connect: connection refused"
)
MISSING = 'failed to pull and unpack image "docker.io/x/none:1": failed to resolve image: docker.io/x/none:1: not found'
NO_NAME = (
    'Failed to apply default image tag "Localhost/NONE:1": couldn\'t parse image name "Localhost/NONE:1": '
    "invalid reference format: repository name (NONE) must be lowercase"
)
NEVER = 'Container image "localhost/none:1" is not present with pull policy of Never'
BACK_OFF = "back-off 5m0s restarting failed container=server pod=oom_t(708324ce-7114-4cf4-ab16-f4a081f10b5b)"
NO_PROGRAM = (
    "failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create failed: "
    'unable to start container process: exec: "nosuch": executable file not found in $PATH'
)
SMALL_QUOTA = (
    'pods "m1-68c7fdcfc7-6glwq" is forbidden: exceeded quota: small, requested: limits.memory=1Gi, '
    "used: limits.memory=64Mi, limited: limits.memory=256Mi"
)
NOT_RESTRICTED = (
    'pods "m1-f4d54b6dd-g5d9j" is forbidden: violates PodSecurity "restricted:latest": runAsNonRoot != true '
    '(pod or container "c" must set securityContext.runAsNonRoot=true)'
)


def container(
    waiting: tuple[str, str] | None = None,
    ended: tuple[int, str] | None = None,
    before: tuple[int, str] | None = None,
    restarts: int = 0,
    ready: bool = False,
    message: str | None = None,
) -> V1ContainerStatus:
    """The container `server`: waiting (reason, message), ended or before (exit code, reason); else it runs."""

    def end(known: tuple[int, str]) -> V1ContainerState:
        return V1ContainerState(
            terminated=V1ContainerStateTerminated(exit_code=known[0], reason=known[1], message=message)
        )

    now = V1ContainerState(running=V1ContainerStateRunning())
    if waiting:
        now = V1ContainerState(waiting=V1ContainerStateWaiting(reason=waiting[0], message=waiting[1]))
    return V1ContainerStatus(
        name="server",
        image="localhost/none:1",
        image_id="",
        ready=ready,
        restart_count=restarts,
        state=end(ended) if ended else now,
        last_state=end(before) if before else V1ContainerState(),
    )


def pod(*statuses: V1ContainerStatus, phase: str = "Pending", init: bool = False, **status: Any) -> V1Pod:
    """A pod whose container asks for one GPU, with at most 64Mi of memory."""
    asked = V1ResourceRequirements(requests={"nvidia.com/gpu": "1"}, limits={"memory": "64Mi"})
    of_containers = {"init_container_statuses" if init else "container_statuses": list(statuses)}
    return V1Pod(
        metadata=V1ObjectMeta(name="p", namespace="t"),
        spec=V1PodSpec(containers=[V1Container(name="server", resources=asked)], active_deadline_seconds=5),
        status=V1PodStatus(phase=phase, **of_containers, **status),
    )


def unplaced(reason: str, message: str) -> list[V1PodCondition]:
    return [V1PodCondition(type="PodScheduled", status="False", reason=reason, message=message)]


def test_a_pod_that_works_starts_or_is_done_has_no_failure() -> None:
    assert diagnose(pod(phase="Pending")) is None
    assert diagnose(pod(container(waiting=("ContainerCreating", "")))) is None
    assert diagnose(pod(container(ready=True), phase="Running")) is None
    assert diagnose(pod(container(ended=(0, "Completed")), phase="Succeeded")) is None
    assert diagnose(pod(container(ended=(0, "Completed")), phase="Pending", init=True)) is None


def test_a_container_that_works_again_has_no_failure() -> None:
    assert diagnose(pod(container(before=(1, "Error"), restarts=1, ready=True), phase="Running")) is None


def test_an_unschedulable_pod_tells_what_is_short_and_how_much_it_asks() -> None:
    failure = diagnose(pod(conditions=unplaced("Unschedulable", NO_GPU)))
    assert failure is not None
    assert failure.kind == "unschedulable" and not failure.permanent, "a node may come free or be added"
    assert failure.text == (
        "no node takes the pod: 0/1 nodes are available: 1 Insufficient nvidia.com/gpu; it asks for 1 nvidia.com/gpu"
    )


def test_a_pod_that_a_queue_holds_is_not_without_a_node() -> None:
    held = pod(conditions=unplaced("SchedulingGated", "Scheduling is blocked due to non-empty scheduling gates"))
    held.spec.scheduling_gates = [V1PodSchedulingGate(name="kueue.x-k8s.io/admission")]
    failure = diagnose(held)
    assert failure is not None
    assert failure.kind == "queued" and not failure.permanent and "kueue.x-k8s.io/admission" in failure.text


@pytest.mark.parametrize(
    ("reason", "message", "permanent", "words"),
    [
        ("ImagePullBackOff", UNREACHABLE, False, "connection refused"),
        ("ErrImagePull", MISSING, True, "docker.io/x/none:1: not found"),
        ("InvalidImageName", NO_NAME, True, "must be lowercase"),
        ("ErrImageNeverPull", NEVER, True, "not present with pull policy of Never"),
    ],
)
def test_an_image_that_cannot_be_had(reason: str, message: str, permanent: bool, words: str) -> None:
    """Where only the network fails, asking again may help; where there is no such image, it does not."""
    failure = diagnose(pod(container(waiting=(reason, message))))
    assert failure is not None
    assert (failure.kind, failure.permanent, failure.container) == ("image", permanent, "server")
    assert "localhost/none:1" in failure.text and words in failure.text


@pytest.mark.parametrize(
    "message",
    [
        'secret "nosuch" not found',
        "couldn't find key nosuch in ConfigMap t/kube-root-ca.crt",
        'container has runAsNonRoot and image will run as root (pod: "root_t(c32a3e05)", container: c)',
    ],
)
def test_a_container_that_is_set_up_wrongly(message: str) -> None:
    failure = diagnose(pod(container(waiting=("CreateContainerConfigError", message))))
    assert failure is not None
    assert failure.kind == "config" and failure.permanent and message in failure.text


def test_a_program_that_is_not_in_the_image() -> None:
    failure = diagnose(pod(container(ended=(128, "StartError"), message=NO_PROGRAM), phase="Running"))
    assert failure is not None
    assert failure.kind == "config" and failure.permanent
    assert failure.text == 'server cannot be started: exec: "nosuch": executable file not found in $PATH'


@pytest.mark.parametrize("init", [False, True])
def test_a_crash_loop_tells_the_exit_code_and_is_believed_after_two_restarts(init: bool) -> None:
    once = diagnose(pod(container(("CrashLoopBackOff", BACK_OFF), before=(3, "Error"), restarts=1), init=init))
    twice = diagnose(pod(container(("CrashLoopBackOff", BACK_OFF), before=(3, "Error"), restarts=2), init=init))
    assert once is not None and twice is not None
    assert (once.kind, once.permanent, twice.kind, twice.permanent) == ("crash", False, "crash", True)
    assert twice.text == "server ended with exit code 3, started again 2 times"


def test_a_pod_that_is_not_started_again_has_crashed_for_good() -> None:
    failure = diagnose(pod(container(ended=(139, "Error"), message="bad weights\n"), phase="Failed"))
    assert failure is not None
    assert failure.permanent and failure.text == "server ended with exit code 139 (SIGSEGV): bad weights"


@pytest.mark.parametrize(
    "status",
    [
        container(ended=(137, "OOMKilled")),
        container(("CrashLoopBackOff", BACK_OFF), before=(137, "OOMKilled"), restarts=1),
        container(before=(137, "OOMKilled"), restarts=1),
    ],
    ids=["ended", "waits to start again", "was started again"],
)
def test_too_little_memory(status: V1ContainerStatus) -> None:
    failure = diagnose(pod(status, phase="Running"))
    assert failure is not None
    assert failure.kind == "out_of_memory" and failure.permanent and "its limit of 64Mi (OOMKilled)" in failure.text


def test_what_ends_a_pod_from_outside_comes_before_how_its_container_ended() -> None:
    """The container of an evicted pod ends with exit code 137, which is not the reason."""
    killed = container(ended=(137, "Error"))
    full = 'Usage of EmptyDir volume "e" exceeds the limit "10Mi". '
    evicted = diagnose(pod(killed, phase="Failed", reason="Evicted", message=full))
    late = "Pod was active on the node longer than the specified deadline"
    ended = diagnose(pod(killed, phase="Failed", reason="DeadlineExceeded", message=late))
    assert evicted is not None and ended is not None
    assert evicted.kind == "evicted" and full.strip() in evicted.text
    assert ended.kind == "deadline" and "(5 s)" in ended.text


def test_a_refused_deployment_tells_whether_quota_or_rule() -> None:
    def deployment(message: str) -> V1Deployment:
        condition = V1DeploymentCondition(type="ReplicaFailure", status="True", reason="FailedCreate", message=message)
        return V1Deployment(status=V1DeploymentStatus(conditions=[condition]))

    quota, rule = diagnose_creation(deployment(SMALL_QUOTA)), diagnose_creation(deployment(NOT_RESTRICTED))
    assert quota is not None and rule is not None
    assert quota.kind == "quota" and "requested: limits.memory=1Gi" in quota.text and "68c7fdcfc7" not in quota.text
    assert rule.kind == "admission" and "runAsNonRoot != true" in rule.text
    assert diagnose_creation(V1Deployment(status=V1DeploymentStatus())) is None


class Event:
    def __init__(self, reason: str, message: str) -> None:
        self.reason, self.message = reason, message


def test_a_refused_job_has_it_in_its_events_alone() -> None:
    message = (
        'Error creating: pods "nosa-" is forbidden: error looking up service account t/srlm: serviceaccount "srlm" '
    )
    failure = diagnose_creation(V1Job(status=V1JobStatus()), [Event("FailedCreate", message + "not found")])
    assert failure is not None
    assert failure.text == (
        'the cluster refuses the pod: error looking up service account t/srlm: serviceaccount "srlm" not found'
    )


def test_a_volume_that_cannot_be_had_stands_in_events_alone() -> None:
    message = 'MountVolume.SetUp failed for volume "recipe" : configmap "nosuch" not found'
    failure = diagnose_mount([Event("Scheduled", ""), Event("FailedMount", message)])
    assert failure is not None and message in failure.text
    assert diagnose_mount([Event("Scheduled", "")]) is None


@pytest.mark.parametrize(("logs", "told"), [(("", "no weights"), ["no weights"]), (("a", "b"), ["a"]), (("", ""), [])])
def test_a_container_that_was_started_again_meanwhile_has_its_words_in_its_other_log(
    logs: tuple[str, str], told: list[str]
) -> None:
    """Of a pod that was read as ended: the log of what runs now is empty, that of what ran before tells."""

    class Core:
        def read_namespaced_pod_log(self, *_: Any, previous: bool, **__: Any) -> str:
            return logs[previous]

    ended = V1ContainerState(terminated=V1ContainerStateTerminated(exit_code=3))
    status = V1ContainerStatus(name="c", image="", image_id="", ready=False, restart_count=1, state=ended)
    pod = V1Pod(metadata=V1ObjectMeta(name="p"), status=V1PodStatus(container_statuses=[status]))
    core: Any = Core()
    assert last_log_lines(core, pod, "c") == told
