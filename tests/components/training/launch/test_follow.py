"""A step follows its TrainJob: against an API server that is scripted, over real HTTP by the real client."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from components.core.errors import UserError
from components.core.progress import STEP_EVENTS, EventFile, emit_point
from components.kubernetes import removal
from components.kubernetes.removal import end_training
from components.kubernetes.settings import ClusterSettings, TrainingPods
from components.training.launch import follow as following
from components.training.launch.follow import follow
from components.training.launch.logs import Log
from components.training.launch.request import PROBLEM, TrainingRequest
from components.training.launch.trainjob import TrainJob
from tests.helpers.scripted_cluster import serving

LINES = ["step 1\n", "step 2\n"]


class Api:
    """One TrainJob: it runs for two polls and then meets `end` (a condition's type). Once the server is away."""

    def __init__(self, end: str, lines: list[str], there: bool = False) -> None:
        self.end, self.lines, self.polls = end, lines, 0
        self.job: dict[str, Any] | None = {"metadata": {"name": "made before"}} if there else None
        self.removed: list[str] = []
        self.patches: list[Any] = []
        self.events: list[dict[str, Any]] = []
        self.pods: list[dict[str, Any]] = [
            {"metadata": {"name": name}, "status": {"phase": phase}}
            for name, phase in {"m2-node-0-0": "Running", "m2-node-0-1": "Pending"}.items()
        ]

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        path, _, query = path.partition("?")
        if self.polls == 2:
            self.polls += 1
            return 503, {"message": "the API server starts again"}
        if path.endswith("/events"):
            return 200, {"kind": "EventList", "items": self.events}
        if path.startswith("/api/v1/"):
            return 200, self._read(path, query)
        if "/trainingruntimes/" in path:
            return 404, {"message": "there is none"}
        if method == "PATCH":
            self.patches.append(body)
            return 200, self.job
        if method == "POST" and self.job:
            return 409, {"message": "already exists"}
        if method == "POST":
            self.job = body
            self.job["metadata"]["creationTimestamp"] = "2026-01-01T12:00:00Z"
        elif method == "DELETE":
            self.removed += [self.job["metadata"]["name"]] if self.job else []
            there, self.job = self.job, None
            return (200, {}) if there else (404, {"message": "gone"})
        if path.endswith("/trainjobs"):
            return 200, {"items": [self.job] if self.job else []}
        return (200, self._polled()) if self.job else (404, {"message": "gone"})

    def _read(self, path: str, query: str) -> Any:
        """A log, with the time of each line as it is asked for; one pod, which has ended; or all pods."""
        if path.endswith("/log"):
            assert "timestamps=True" in query
            return "".join(f"2026-01-01T12:00:{at:02}Z {line}" for at, line in enumerate(self.lines, 1))
        if path.endswith("/pods"):
            return {"kind": "PodList", "items": self.pods}
        return {"metadata": {"name": path.rpartition("/")[2]}, "status": {"phase": "Succeeded"}}

    def _polled(self) -> dict[str, Any]:
        self.polls += 1
        ended = [{"type": self.end, "status": "True", "reason": "Ended"}] if self.polls > 3 else []
        return {**(self.job or {}), "status": {"conditions": ended}}


@pytest.fixture
def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Start an API server and point KUBECONFIG at it."""
    with ExitStack() as servers:

        def start(api: Api) -> Api:
            servers.enter_context(serving(api, tmp_path / "kubeconfig", monkeypatch))
            return api

        monkeypatch.setattr(following, "POLL_INTERVAL_S", 0.05)
        yield start


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch) -> TrainJob:
    monkeypatch.setattr(TrainJob, "name", "m2")
    request = TrainingRequest(kind="dpo", root="s3://bucket/runs", settings={}, inputs={}, processes=2)
    return TrainJob(request, TrainingPods(nodes=2), ClusterSettings(), "trainer:1", "run", "m2")


def test_a_pod_that_took_too_much_memory_is_named_with_what_to_lower(serve: Any, job: TrainJob) -> None:
    """Its own log breaks off, and the others' say that a peer is gone."""
    api = serve(Api("Failed", LINES))
    resources = {"limits": {"memory": "64Gi"}}
    ended = {"name": "node", "state": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}
    ended |= {"ready": False, "restartCount": 0, "image": "trainer:1", "imageID": ""}
    api.pods[1] |= {"spec": {"containers": [{"name": "node", "resources": resources}]}}
    api.pods[1]["status"] = {"phase": "Failed", "containerStatuses": [ended]}
    with pytest.raises(UserError, match=r"needs more memory than its limit of 64Gi.*dpo.micro_batch_size"):
        follow(job)
    assert api.removed == ["m2"]


def test_a_job_that_completes_was_made_shown_and_removed(serve: Any, job: TrainJob, capfd: Any) -> None:
    api = serve(Api("Complete", LINES))
    follow(job)
    assert api.removed == ["m2"]
    assert "node-0-0: step 1\nnode-0-0: step 2\n" in capfd.readouterr().err


def test_a_job_that_is_there_is_followed(serve: Any, job: TrainJob, capfd: Any) -> None:
    api = serve(Api("Complete", LINES, there=True))
    follow(job)
    assert api.removed == ["made before"]
    assert "following the TrainJob m2" in capfd.readouterr().err


def test_a_job_that_an_earlier_run_made_goes_with_this_one_from_now_on(
    serve: Any, job: TrainJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the end of that run, or the reaper, would take it."""
    owner = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "name": "demo-2", "uid": "2"}
    monkeypatch.setattr(following, "owner_of_this_step", lambda _: owner)
    api = serve(Api("Complete", LINES, there=True))
    follow(job)
    assert api.patches == [{"metadata": {"ownerReferences": [owner]}}]


def test_a_job_that_fails_ends_with_what_it_said_last(serve: Any, job: TrainJob) -> None:
    serve(Api("Failed", LINES))
    with pytest.raises(UserError, match=r"TrainJob m2 failed \(Ended: \)(.|\n)*step 2"):
        follow(job)


def test_a_workers_message_for_the_user_arrives(serve: Any, job: TrainJob) -> None:
    serve(Api("Failed", [*LINES, f'{PROBLEM}{{"problem": "no pairs", "remedy": "Make some."}}\n']))
    with pytest.raises(UserError, match="no pairs. Make some"):
        follow(job)


def test_a_step_that_is_stopped_removes_its_job(serve: Any, job: TrainJob, monkeypatch: pytest.MonkeyPatch) -> None:
    api = serve(Api("Complete", LINES))
    monkeypatch.setattr(following.PodLogs, "poll", lambda self: signal.raise_signal(signal.SIGTERM))
    with pytest.raises(SystemExit):
        follow(job)
    assert api.removed == ["m2"]


NO_ROOM = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "Insufficient gpu"}
GATED = {"type": "PodScheduled", "status": "False", "reason": "SchedulingGated", "message": "kueue"}
QUOTA = 'pods "m2-node-0-0-x" is forbidden: exceeded quota: gpus'


NOMINATED = {"metadata": {"name": "e"}, "involvedObject": {}, "reason": "Nominated"}


def failed_creation(job: str, when: str) -> dict[str, Any]:
    about = {"kind": "Job", "name": job}
    return {
        "metadata": {"name": job},
        "involvedObject": about,
        "reason": "FailedCreate",
        "message": QUOTA,
        "lastTimestamp": when,
    }


def pending(condition: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": {"name": "m2-node-0-0"}, "status": {"phase": "Pending", "conditions": [condition]}}


def test_pods_that_are_refused_end_the_wait(serve: Any, job: TrainJob, monkeypatch: pytest.MonkeyPatch) -> None:
    """There are no pods that could tell it: only the event about the TrainJob's Job does."""
    monkeypatch.setattr(following, "REFUSAL_TIMEOUT_S", 0)
    api = serve(Api("Complete", LINES))
    api.pods, api.events = [], [failed_creation("m2-node-0", "2026-01-01T12:00:01Z")]
    with pytest.raises(UserError, match="training m2: the namespace's quota refuses the pod: exceeded quota: gpus"):
        follow(job)
    assert api.removed == ["m2"]


@pytest.mark.parametrize(
    ("of", "when"), [("m2-node-0", "2026-01-01T11:59:59Z"), ("m22-node-0", "2026-01-01T12:00:01Z")]
)
def test_refusals_of_an_earlier_job_or_another_one_are_not_its_own(
    serve: Any, job: TrainJob, monkeypatch: pytest.MonkeyPatch, of: str, when: str
) -> None:
    monkeypatch.setattr(following, "REFUSAL_TIMEOUT_S", 0)
    api = serve(Api("Complete", LINES))
    api.pods, api.events = [], [failed_creation(of, when)]
    follow(job)


@pytest.mark.parametrize(
    ("condition", "events", "ends"),
    [(NO_ROOM, [], True), (NO_ROOM, [NOMINATED], False), (GATED, [], False)],
    ids=["no node", "a node is coming", "in a queue"],
)
def test_a_pod_without_a_node_is_waited_for_so_long_unless_one_is_coming(
    serve: Any, job: TrainJob, monkeypatch: pytest.MonkeyPatch, condition: Any, events: Any, ends: bool
) -> None:
    """The deadline is over at once here. The event stands for the autoscaler's; a pod in a queue has no deadline."""
    monkeypatch.setattr(following, "failed_creations", lambda *_: [])  # the scripted server does not select events
    job.pods.__dict__["schedule_timeout"] = 0
    api = serve(Api("Complete", LINES))
    api.pods, api.events = [pending(condition)], events
    if not ends:
        return follow(job)
    with pytest.raises(UserError, match="no node takes the pod: Insufficient gpu.*resources.schedule_timeout"):
        follow(job)
    return None


def test_the_last_step_removes_what_a_killed_one_left(
    serve: Any, job: TrainJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only in a pod: outside of one no step makes a TrainJob."""
    api = serve(Api("Complete", LINES, there=True))
    end_training("run")
    assert api.removed == []
    monkeypatch.setattr(removal, "in_a_pod", lambda: True)
    end_training("run")
    assert api.removed == ["made before"]


@pytest.mark.parametrize("status", [403, 404])
def test_a_cluster_that_shows_no_train_jobs_is_no_error(
    serve: Any, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    """404 where Kubeflow Trainer is not installed, 403 where the account may not ask."""
    api = serve(Api("Complete", LINES))
    monkeypatch.setattr(removal, "in_a_pod", lambda: True)
    asked = []
    monkeypatch.setattr(api, "answer", lambda _, path, __: asked.append(path.partition("?")[0]) or (status, {}))
    end_training("run")
    assert asked == ["/apis/trainer.kubeflow.org/v1alpha1/namespaces/runs/trainjobs"]


def test_points_of_the_curve_in_a_pod_s_log_become_the_step_s_events(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """They are not shown; what stands before one on its line is; one that was torn is left out."""
    emit_point(1, {"loss": 0.5})  # in the pod: a line of its log
    line = capsys.readouterr().err
    monkeypatch.setenv(STEP_EVENTS, str(tmp_path / "events"))
    events = EventFile(tmp_path / "events")
    Log().follow([line, f"step 2 {line}", line.replace("}}", ""), "step 3\n"], "node-0-0: ")
    points = [(event["at"], event["values"]) for event in events.new() if event["kind"] == "point"]
    assert points == [(1, {"loss": 0.5})] * 2
    assert capsys.readouterr().err.splitlines() == ["node-0-0: step 2 ", "node-0-0: step 3"]
