"""Runs of Kubeflow Pipelines, asked for from a real HTTP server that answers as its API (v2beta1) does."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from components.core.course import Course
from components.core.journal import write_journal
from components.kubernetes.objects import COMPONENT, MANAGER, RUN
from pipelines.cluster.kubeflow import KubeflowError, kfp_client
from pipelines.cluster.kubeflow_runs import KubeflowRuns
from pipelines.runs import Run
from tests.helpers.http_server import http_server

ID = "0f8fad5b-d9cb-469f-a165-70867728950e"
CHILD = [{"pod_name": "toy-5pbs2-290630366"}]  # named after the node of the Workflow, not after a pod
# As Kubeflow Pipelines 2.17 with Argo 4.0.8 gave them: groups and nodes among the tasks.
STEPS = [
    {"display_name": "toy-5pbs2", "state": "RUNNING", "child_tasks": CHILD},
    {"display_name": "toy-5pbs2(0)", "state": "RUNNING", "child_tasks": CHILD},
    {"display_name": "root", "state": "RUNNING"},
    {"display_name": "exit-handler-1(0)", "state": "RUNNING"},
    {"display_name": "exit-handler-1", "state": "RUNNING"},
    {"display_name": "loop", "state": "RUNNING"},
    {"display_name": "executor", "state": "RUNNING"},
    {"display_name": "sft-driver", "state": "RUNNING"},
    {"display_name": "sft", "state": "RUNNING"},
    {"display_name": "seed-data", "state": "SUCCEEDED"},
]


class Backend:
    """One run; `page` is what a login in front of it answers to everything."""

    def __init__(self) -> None:
        self.run: dict[str, Any] = {"run_id": ID, "display_name": "toy", "state": "RUNNING"}
        self.run |= {"created_at": "2026-01-01T00:00:00Z", "run_details": {"task_details": STEPS}}
        self.refusal, self.page, self.terminated, self.multi_user = 0, b"", 0, False
        self.config: dict[str, str] | None = None  # of the namespace's config map
        self.argo = ""  # what the run's Workflow says
        self.tokens: list[str] = []
        self.selectors: set[str] = set()

    def answer(self, url: str) -> tuple[int, Any]:
        parts = urlsplit(url)
        if parts.path.endswith("/serviceaccounts/default-editor/token"):
            status = {"token": "made", "expirationTimestamp": "2026-01-01T00:00:00Z"}
            return 201, {"status": status, "spec": {"audiences": []}}
        if parts.path.endswith("/secrets/srlm"):
            return 404, {"message": "no secret"}
        if parts.path.endswith("/configmaps/srlm"):
            return (404, {"message": "no config map"}) if self.config is None else (200, {"data": self.config})
        if parts.path.endswith("/workflows"):
            return 200, {"items": [{"status": {"message": self.argo}}]}
        if parts.path.startswith(("/api/", "/apis/apps", "/apis/batch", "/apis/trainer")):
            return self.of_the_cluster(parse_qs(parts.query)["labelSelector"][0])
        if self.refusal:
            return self.refusal, {"error": "not you", "code": 7, "message": "not you", "details": [{"x": 1}]}
        if parts.path.endswith("/healthz"):
            return 200, {"multi_user": self.multi_user}
        if parts.path.endswith(":terminate"):
            self.terminated += 1
            self.run["state"] = "CANCELING"
            return 200, {}
        if parts.path.endswith("/runs"):
            wanted = json.loads(parse_qs(parts.query).get("filter", ["{}"])[0]).get("predicates", [])
            found = all(one["stringValue"] == self.run["display_name"] for one in wanted)
            return 200, {"runs": [self.run] if found else []}
        return (200, self.run) if parts.path.endswith(ID) else (404, {"message": "no such run"})

    def of_the_cluster(self, selector: str) -> tuple[int, Any]:
        """An empty cluster, which as a real one refuses a selector that no label fits."""
        self.selectors.add(selector)
        legal = all(re.fullmatch(r"[\w./-]+=[\w.-]{0,63}", part, re.ASCII) for part in selector.split(","))
        return (200, {"items": []}) if legal else (400, {"message": "unable to parse requirement"})


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Backend]:
    """Behind KF_PIPELINES_ENDPOINT, where no cluster is known."""
    made = Backend()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            made.tokens.append(self.headers.get("Authorization", ""))
            status, answer = (200, None) if made.page else made.answer(self.path)
            data = made.page or json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_: Any) -> None:
            pass

    with http_server(Handler) as url:
        monkeypatch.setenv("KF_PIPELINES_ENDPOINT", url)
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "nosuch"))
        yield made


@pytest.fixture
def known_cluster(backend: Backend, tmp_path: Path) -> Backend:
    """The same server answers as the cluster's API, which a kubeconfig names."""
    cluster = {"name": "c", "cluster": {"server": os.environ["KF_PIPELINES_ENDPOINT"]}}
    context = {"name": "c", "context": {"cluster": "c", "user": "u"}}
    known = {"clusters": [cluster], "contexts": [context], "current-context": "c", "users": [{"name": "u", "user": {}}]}
    (tmp_path / "nosuch").write_text(json.dumps(known))
    return backend


def told(name: str = "") -> list[Run]:
    """As `srlm status` asks for them."""
    kubeflow = KubeflowRuns()
    return kubeflow.with_steps(kubeflow.find(name) if name else kubeflow.recent())


@pytest.mark.parametrize("name", ["toy", ID])
def test_a_run_is_found_by_name_and_by_id_with_the_step_that_it_is_at(backend: Backend, name: str) -> None:
    [found] = KubeflowRuns().find(name)
    assert (found.name, found.state, found.step, found.id) == ("toy", "running", "sft", ID)
    assert [run.name for run in KubeflowRuns().recent()] == ["toy"]


@pytest.mark.parametrize("name", ["other", "00000000-0000-0000-0000-000000000000"])
def test_a_run_that_is_not_there_is_no_error(backend: Backend, name: str) -> None:
    assert KubeflowRuns().find(name) == []


def test_without_a_cluster_it_says_that_the_pods_could_not_be_asked(backend: Backend) -> None:
    lines = KubeflowRuns().details(told("toy")[0])
    assert "what its steps say in the store is not known: no cluster is known here" in lines[1]
    assert "what its pods say is not known: no cluster is known here" in lines[2]


def test_a_run_is_terminated_and_what_could_not_be_freed_is_said(backend: Backend) -> None:
    asked, unfreed = KubeflowRuns().cancel(KubeflowRuns().find("toy")[0])
    assert backend.terminated == 1 and ID in asked
    assert "whether it left servers is not known" in unfreed
    backend.run["state"] = "CANCELED"
    KubeflowRuns().cancel(KubeflowRuns().find("toy")[0])
    assert backend.terminated == 1, "what has ended is not ended again"


@pytest.mark.parametrize(
    ("name", "parameter", "labels"),
    [("toy", "toy", {ID, "toy"}), ("Run of toy (2)", "", {ID}), ("Run of toy (2)", "mine", {ID, "mine"})],
)
def test_a_run_s_objects_are_asked_for_by_what_it_calls_itself(
    known_cluster: Backend, name: str, parameter: str, labels: set[str]
) -> None:
    """Its parameter, which is KFP's id where it is empty; the UI's names of runs have spaces, which no label has."""
    backend = known_cluster
    backend.config = {}
    backend.run |= {"display_name": name, "runtime_config": {"parameters": {"run": parameter}}}
    kubeflow = KubeflowRuns()
    [found] = kubeflow.find(name)
    assert kubeflow.details(found) == [f"its id is {ID}"]
    wanted = {f"{MANAGER}=srlm,{RUN}={one}" for one in labels}
    assert backend.selectors == {f"pipeline/runid={ID}", *wanted}
    backend.selectors.clear()
    assert len(kubeflow.cancel(found)) == 1, "it had nothing on the cluster"
    assert backend.selectors >= {f"{MANAGER}=srlm,{COMPONENT}=model-server,{RUN}={one}" for one in labels}


def test_the_step_and_how_far_it_is_come_from_the_run_s_own_record(known_cluster: Backend, tmp_path: Path) -> None:
    """Kubeflow knows that a pod runs, not what it does."""
    known_cluster.config = {"SRLM_STORE": str(tmp_path / "store")}
    course = Course("judge M1", time.time(), time.time(), label="judging", count=60, total=64, first=60)
    write_journal(str(tmp_path / "store"), "toy", "steps", "judge-m1", asdict(course))
    [found] = told("toy")
    assert (found.state, found.step) == ("running", "judge M1: judging 60/64")


def test_a_failed_run_has_its_reason_when_its_pods_are_gone(known_cluster: Backend, tmp_path: Path) -> None:
    known_cluster.config = {"SRLM_STORE": str(tmp_path / "store")}
    known_cluster.run["state"] = "FAILED"
    known_cluster.argo = "child 'toy-5pbs2-290630366' failed"
    course = Course("train M1", 1.0, 2.0, "failed", problem="64 does not divide by 3", remedy="Take 4")
    write_journal(str(tmp_path / "store"), "toy", "steps", "train-m1", asdict(course))
    assert told("toy")[0].step == "train M1: 64 does not divide by 3. Take 4"


def test_what_no_step_could_say_argo_says(known_cluster: Backend) -> None:
    known_cluster.config = {}
    known_cluster.run["state"] = "FAILED"
    known_cluster.argo = "workflow is longer than maximum allowed size. compressed size 1252144 > maxSize 1048576"
    assert told()[0].step == known_cluster.argo


def test_a_run_that_was_cancelled_has_not_failed(backend: Backend) -> None:
    """Kubeflow's last state of it is FAILED all the same."""
    backend.run |= {
        "state": "FAILED",
        "state_history": [{"state": "RUNNING"}, {"state": "CANCELING"}, {"state": "FAILED"}],
    }
    assert KubeflowRuns().find("toy")[0].state == "canceled"


def test_where_there_are_several_users_a_token_is_made(known_cluster: Backend) -> None:
    known_cluster.config, known_cluster.multi_user = {}, True
    KubeflowRuns(namespace="team").recent()
    assert known_cluster.tokens[0] == "" and "Bearer made" in known_cluster.tokens


@pytest.mark.parametrize(("status", "words"), [(401, "does not know who we are"), (403, "does not allow this")])
def test_a_refusal_names_the_token(backend: Backend, status: int, words: str) -> None:
    backend.refusal = status
    with pytest.raises(KubeflowError, match=rf"{words} \(not you\)") as refused:
        KubeflowRuns().recent()
    assert "KF_PIPELINES_TOKEN" in refused.value.remedy


def test_a_login_page_in_front_of_it_is_no_kubeflow(backend: Backend) -> None:
    backend.page = b"<html>Log in</html>"
    with pytest.raises(KubeflowError, match="answers, but not as the API"):
        KubeflowRuns().recent()


def test_no_kubeflow_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KF_PIPELINES_ENDPOINT", raising=False)
    with pytest.raises(KubeflowError, match="KF_PIPELINES_ENDPOINT"), kfp_client():
        pass
    with pytest.raises(KubeflowError, match="does not answer"), kfp_client("http://127.0.0.1:9"):
        pass
