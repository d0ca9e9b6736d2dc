"""When a wait ends: by the kind of a failure, by how long it lasts, and by the workload's own limit."""

from __future__ import annotations

from typing import Any

import pytest

from components.core.errors import UserError
from components.kubernetes import wait as module
from components.kubernetes.diagnosis import PodFailure
from components.kubernetes.wait import Wait, WaitPolicy, remedies

NO_NODE = PodFailure("unschedulable", "no node takes the pod", False)
QUEUED = PodFailure("queued", "the pod waits in a queue", False)
NO_ANSWER = PodFailure("image", "its image cannot be had", False, "server")
NO_IMAGE = PodFailure("image", "there is no such image", True, "server")
QUOTA = PodFailure("quota", "the quota refuses the pod", True)


class Clock:
    """The time, as the wait reads it, and whether an autoscaler adds a node."""

    now = 100.0
    node_is_coming = False


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(module.time, "monotonic", lambda: made.now)
    monkeypatch.setattr(module, "node_is_coming", lambda *_: made.node_is_coming)
    return made


def waiting(**more: Any) -> Wait:
    policy = WaitPolicy(
        limits={"unschedulable": 60, "image": 20, "quota": 30},
        remedies=remedies("serving.pod", "serving.schedule_timeout"),
        other_remedy="Look at it.",
        **more,
    )
    return Wait(None, policy, "m1", "m1 cannot be served")  # type: ignore[arg-type]


def lasts(wait: Wait, clock: Clock, failure: PodFailure, seconds: float) -> None:
    """The failure is there from now on, for so long."""
    wait.check([(failure, None)])
    clock.now += seconds
    wait.check([(failure, None)])


@pytest.mark.parametrize(("failure", "limit"), [(NO_NODE, 60), (NO_ANSWER, 20), (QUOTA, 30)])
def test_a_failure_may_last_as_long_as_its_kind(clock: Clock, failure: PodFailure, limit: int) -> None:
    lasts(waiting(), clock, failure, limit - 1)
    with pytest.raises(UserError, match=f"m1 cannot be served: {failure.text}"):
        lasts(waiting(), clock, failure, limit)


def test_what_is_permanent_ends_the_wait_at_once(clock: Clock) -> None:
    with pytest.raises(UserError, match="no such image. Look at it."):
        waiting().check([(NO_IMAGE, None)])


def test_a_failure_that_went_by_starts_its_time_anew(clock: Clock) -> None:
    wait = waiting()
    lasts(wait, clock, NO_ANSWER, 19)
    wait.check([])
    lasts(wait, clock, NO_ANSWER, 19)


def test_a_kind_does_not_inherit_the_time_of_another(clock: Clock) -> None:
    wait = waiting()
    lasts(wait, clock, NO_NODE, 59)
    wait.check([(NO_ANSWER, None)])


def test_a_node_that_is_coming_is_waited_for(clock: Clock) -> None:
    clock.node_is_coming = True
    lasts(waiting(), clock, NO_NODE, 10_000)


def test_a_queue_has_no_limit_and_the_workload_s_time_begins_after_it(clock: Clock) -> None:
    wait = waiting(timeout_s=100, timeout_remedy="Raise it.")
    lasts(wait, clock, QUEUED, 10_000)
    clock.now += 100
    wait.check([], "loading the model")
    clock.now += 1
    with pytest.raises(UserError, match=r"m1 was not ready after 100 s \(loading the model\). Raise it."):
        wait.check([], "loading the model")


def test_a_phase_is_told_when_it_begins(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    wait = waiting()
    for phase in ("pulling images", "pulling images", "loading the model"):
        wait.check([], phase)
        clock.now += 5
    wait.check([(NO_NODE, None), (NO_NODE, None)])
    told = ["m1: pulling images (0 s)", "m1: loading the model (10 s)", "m1: no node takes the pod (0 s)"]
    assert capsys.readouterr().err.splitlines() == told
