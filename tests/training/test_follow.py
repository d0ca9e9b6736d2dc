"""A step follows its TrainJob: against an API server that is scripted, over real HTTP by the real client."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.errors import UserError
from components.pods import ClusterSettings, TrainingPods
from components.training import follow as following
from components.training.follow import follow
from components.training.request import PROBLEM, TrainingRequest
from components.training.trainjob import TrainJob

LINES = ["step 1\n", "step 2\n"]


class Api:
    """One TrainJob: it runs for two looks and then meets `end` (a condition's type). Once the server is away."""

    def __init__(self, end: str, lines: list[str], there: bool = False) -> None:
        self.end, self.lines, self.looks = end, lines, 0
        self.job: dict[str, Any] | None = {"metadata": {"name": "made before"}} if there else None
        self.removed: list[str] = []

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        if self.looks == 2:
            self.looks += 1
            return 503, {"message": "the API server starts again"}
        if path.startswith("/api/v1/"):
            return 200, "".join(self.lines) if path.endswith("/log") else self._pods()
        if "/trainingruntimes/" in path:
            return 404, {"message": "there is none"}
        if method == "POST" and self.job:
            return 409, {"message": "already exists"}
        if method == "POST":
            self.job = body
        elif method == "DELETE":
            self.removed += [self.job["metadata"]["name"]] if self.job else []
            there, self.job = self.job, None
            return (200, {}) if there else (404, {"message": "gone"})
        return (200, self._looked_at()) if self.job else (404, {"message": "gone"})

    def _looked_at(self) -> dict[str, Any]:
        self.looks += 1
        ended = [{"type": self.end, "status": "True", "reason": "Ended"}] if self.looks > 3 else []
        return {**(self.job or {}), "status": {"conditions": ended}}

    def _pods(self) -> dict[str, Any]:
        phases = {"m2-node-0-0": "Running", "m2-node-0-1": "Pending"}
        pods = [{"metadata": {"name": name}, "status": {"phase": phase}} for name, phase in phases.items()]
        return {"kind": "PodList", "items": pods}


@pytest.fixture
def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Start an API server and point KUBECONFIG at it."""
    servers = []

    def start(api: Api) -> Api:
        class Handler(BaseHTTPRequestHandler):
            def _do(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = json.loads(self.rfile.read(length) or b"{}")
                status, answer = api.answer(self.command, self.path.partition("?")[0], body)
                text = answer if isinstance(answer, str) else json.dumps(answer)
                self.send_response(status)
                self.send_header("Content-Type", "text/plain" if isinstance(answer, str) else "application/json")
                self.end_headers()
                self.wfile.write(text.encode())

            do_GET = do_POST = do_DELETE = _do  # noqa: N815

            def log_message(self, *_: Any) -> None:
                """Nothing: pytest shows what matters."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        here = {"name": "here", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}
        used = {"name": "here", "context": {"cluster": "here", "user": "me", "namespace": "runs"}}
        user = {"name": "me", "user": {}}
        config = {"clusters": [here], "contexts": [used], "users": [user], "current-context": "here"}
        (tmp_path / "kubeconfig").write_text(yaml.safe_dump(config))
        return api

    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    monkeypatch.setattr(following, "PAUSE", 0.05)
    yield start
    for server in servers:
        server.shutdown()


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch) -> TrainJob:
    monkeypatch.setattr(TrainJob, "name", "m2")
    request = TrainingRequest(kind="dpo", root="s3://bucket/runs", settings={}, inputs={}, processes=2)
    return TrainJob(request, TrainingPods(nodes=2), ClusterSettings(), "trainer:1", "run", "m2")


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
    monkeypatch.setattr(following.PodLogs, "look", lambda self: signal.raise_signal(signal.SIGTERM))
    with pytest.raises(SystemExit):
        follow(job)
    assert api.removed == ["m2"]
