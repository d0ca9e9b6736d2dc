"""`srlm submit` against a real HTTP server that plays the API of Kubeflow Pipelines and notes what it was asked."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml

from components.kubernetes import client
from pipelines.cluster import submission
from pipelines.cluster.kubeflow import KubeflowError
from pipelines.cluster.submission import ENDED_BADLY, KubeflowTarget
from pipelines.compile import compile_recipe, load_recipe_for_elsewhere, version_of
from tests.helpers.command_line import srlm
from tests.helpers.http_server import http_server

pytestmark = pytest.mark.slow
TOKEN = "planted-token-8c1f"
SECRETS = {"AWS_SECRET_ACCESS_KEY": "planted-key-77aa", "HF_TOKEN": "planted-hub-token-31", "KF_PIPELINES_TOKEN": TOKEN}


@dataclass
class Kubeflow:
    """What is in it: pipelines, versions, experiments and runs, each with its id; and all requests so far."""

    several_users: bool = False
    refusal: int = 0
    refusals: int = sys.maxsize  # requests that are refused with it
    token: str = ""
    kept: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    uploads: list[bytes] = field(default_factory=list)

    def answer(self, method: str, url: str, headers: dict[str, str], body: bytes) -> tuple[int, Any]:
        path, query = urlsplit(url).path, {name: one[0] for name, one in parse_qs(urlsplit(url).query).items()}
        self.requests.append((method, path, query))
        if self.refusal and self.refusals > 0:
            self.refusals -= 1
            return self.refusal, {"error": "no", "message": "not you"}
        if self.token and headers.get("authorization") != f"Bearer {self.token}":
            return 401, {"message": "who are you"}
        if path == "/apis/v2beta1/healthz":
            return 200, {"multi_user": self.several_users}
        if path == "/apis/v2beta1/pipelines/upload_version":
            self.uploads.append(body)
            return 200, self.keep("version", {"display_name": query["name"], "pipeline_id": query["pipelineid"]})
        kinds = {"pipelines": "pipeline", "versions": "version", "experiments": "experiment", "runs": "run"}
        kind = kinds[path.rpartition("/")[2]]
        if method == "POST":
            return 200, self.keep(kind, json.loads(body))
        return 200, {self.plural(kind): self.find(kind, query)}

    def keep(self, kind: str, thing: dict[str, Any]) -> dict[str, Any]:
        things = self.kept.setdefault(kind, [])
        names = {"version": "pipeline_version_id"}
        things.append({**thing, names.get(kind, f"{kind}_id"): f"{kind}-{len(things)}"})
        return things[-1]

    def find(self, kind: str, query: dict[str, str]) -> list[dict[str, Any]]:
        if "filter" not in query:
            return self.kept.get(kind, [])
        (wanted,) = json.loads(query["filter"])["predicates"]
        assert (wanted["operation"], wanted["key"]) == (1, "display_name")
        return [one for one in self.kept.get(kind, []) if one["display_name"] == wanted["stringValue"]]

    @staticmethod
    def plural(kind: str) -> str:
        return "pipeline_versions" if kind == "version" else f"{kind}s"


@contextmanager
def served(kubeflow: Kubeflow, page: bytes = b"") -> Iterator[str]:
    """The URL of the server; with a page it answers everything with that, as a login does."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.do_POST()

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            named = {name.lower(): value for name, value in self.headers.items()}
            status, answer = (200, None) if page else kubeflow.answer(self.command, self.path, named, body)
            data = page or json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "text/html" if page else "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            pass

    with http_server(Handler) as url:
        yield url


PLACE = {
    "SRLM_STORE": "s3://models/runs",
    "SRLM_TRACKING_URI": "http://mlflow:5000",
    "SRLM_WORKER_IMAGE": "here/worker:1",
}


def submit(folder: Path, host: str, *options: str, **environment: str) -> tuple[int, str]:
    """Exit code and everything printed of `srlm submit demo`, with secrets in the environment."""
    given = {"HOME": str(folder), "KUBECONFIG": str(folder / "none"), **SECRETS, **PLACE, **environment}
    code, output = srlm(folder, "submit", "demo", *(["--host", host] if host else []), *options, **given)
    assert not [secret for secret in SECRETS.values() if secret in output]
    return code, output


def test_a_recipe_is_submitted_with_the_environment_s_place_and_run_under_its_service_account(tmp_path: Path) -> None:
    kubeflow = Kubeflow(token=TOKEN)
    with served(kubeflow) as url:
        code, output = submit(tmp_path, url, "--run", "demo-1", "--set", "cluster.service_account=runner")
    assert code == 0, output
    recipe = load_recipe_for_elsewhere("demo", ["cluster.service_account=runner"])
    compile_recipe(recipe, tmp_path / "pipeline.yaml")
    version = version_of(list(yaml.safe_load_all((tmp_path / "pipeline.yaml").read_text())))
    assert [one["display_name"] for one in kubeflow.kept["version"]] == [version]
    assert (tmp_path / "pipeline.yaml").read_bytes() in kubeflow.uploads[0]
    (run,) = kubeflow.kept["run"]
    assert run["service_account"] == "runner"
    assert run["display_name"] == "demo-1"
    assert run["pipeline_version_reference"] == {"pipeline_id": "pipeline-0", "pipeline_version_id": "version-0"}
    place = {"store": "s3://models/runs", "tracking_uri": "http://mlflow:5000", "worker_image": "here/worker:1"}
    assert run["runtime_config"]["parameters"] == {**place, "run": "demo-1", "engine": "tgi"}
    assert "http://localhost:8080/#/runs/details/run-0 after: kubectl -n kubeflow port-forward svc/ml-pip" in output
    assert version in output
    assert not any("namespace" in query for _, _, query in kubeflow.requests), "one user: a namespace is refused"
    assert all(TOKEN.encode() not in upload for upload in kubeflow.uploads)


def test_what_is_there_is_used_again_and_a_run_s_name_starts_it_once(tmp_path: Path) -> None:
    """A Job that submits may be started again by the cluster: that must not make a second run."""
    kubeflow = Kubeflow()
    with served(kubeflow) as url:
        for options in (["--run", "one"], ["--run", "two"], ["--run", "two"]):
            code, output = submit(tmp_path, url, *options)
            assert code == 0, output
        assert "run two was submitted before: run-1" in output
        kinds = {kind: len(things) for kind, things in kubeflow.kept.items()}
        assert kinds == {"pipeline": 1, "version": 1, "experiment": 1, "run": 2}
        kubeflow.kept["run"][1]["state"] = ENDED_BADLY[0]
        code, output = submit(tmp_path, url, "--run", "two")
    assert "run two submitted: run-2" in output, "what failed may be tried again under its name"


def test_the_token_may_come_from_a_file_that_the_cluster_renews(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    with served(Kubeflow(token=TOKEN)) as url:
        named = {"KF_PIPELINES_TOKEN": "", "KF_PIPELINES_SA_TOKEN_PATH": str(tmp_path / "token")}
        code, output = submit(tmp_path, "", KF_PIPELINES_ENDPOINT=url, **named)
    assert code == 0, output


def test_with_several_users_everything_is_made_in_the_named_namespace(tmp_path: Path) -> None:
    kubeflow = Kubeflow(several_users=True)
    with served(kubeflow) as url:
        code, output = submit(tmp_path, url)
        assert code == 2
        assert "--namespace" in output
        code, output = submit(tmp_path, url, "--namespace", "team", "--experiment", "nightly")
    assert code == 0, output
    made = [*kubeflow.kept["pipeline"], *kubeflow.kept["experiment"]]
    assert [one["namespace"] for one in made] == ["team", "team"]
    assert kubeflow.kept["experiment"][0]["display_name"] == "nightly"


@pytest.mark.parametrize(
    ("refusal", "words"),
    [
        (401, "does not know who we are"),
        (403, "does not allow this (no"),
        (404, "not as the API of Kubeflow Pipelines 2"),
    ],
)
def test_a_refusal_is_told_in_words(refusal: int, words: str, tmp_path: Path) -> None:
    with served(Kubeflow(refusal=refusal)) as url:
        code, output = submit(tmp_path, url)
    assert code == 2
    assert words.split("(")[0].strip() in output
    assert "Traceback" not in output


def test_a_login_page_is_no_kubeflow(tmp_path: Path) -> None:
    with served(Kubeflow(), page=b"<html>Log in</html>") as url:
        code, output = submit(tmp_path, url)
    assert code == 2, output
    assert "not as the API of Kubeflow Pipelines 2" in output
    assert "Traceback" not in output


def test_the_page_of_a_run_is_the_ui_s(monkeypatch: pytest.MonkeyPatch) -> None:
    """The API's own address shows nothing; Kubeflow's gateway serves both, the UI where the address ends."""
    gateway = KubeflowTarget("https://kubeflow.example.com/pipeline/")
    assert gateway.page("run-0") == "https://kubeflow.example.com/pipeline/#/runs/details/run-0"
    monkeypatch.setenv("KF_PIPELINES_UI_ENDPOINT", "https://ui.example.com")
    assert KubeflowTarget("http://127.0.0.1:8888").page("run-0") == "https://ui.example.com/#/runs/details/run-0"


def test_nobody_there_and_no_address_are_told_in_words(tmp_path: Path) -> None:
    code, output = submit(tmp_path, "http://127.0.0.1:9")
    assert code == 2, output
    assert "http://127.0.0.1:9 does not answer" in output
    code, output = submit(tmp_path, "")
    assert code == 2, output
    assert "port-forward" in output


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("SRLM_STORE", "/data", "'/data', a folder of this machine"),
        ("SRLM_TRACKING_URI", "", "tracking_uri is not given"),
        ("SRLM_TRACKING_URI", "https://me:planted-password@mlflow", "tracking_uri holds a password"),
    ],
)
def test_places_that_no_pod_reaches_and_passwords_in_them_are_refused(
    variable: str, value: str, words: str, tmp_path: Path
) -> None:
    """A pipeline's parameters are shown in the UI to everybody who sees the run."""
    kubeflow = Kubeflow()
    with served(kubeflow) as url:
        code, output = submit(tmp_path, url, **{variable: value})
    assert code == 2, output
    assert words in output
    assert "planted-password" not in output
    assert kubeflow.requests == []


def test_a_pod_that_submits_asks_again_where_a_person_is_told_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kubeflow Pipelines is away for the first two requests."""
    kubeflow, recipe = Kubeflow(refusal=503), load_recipe_for_elsewhere("demo")
    parameters = {"run": "demo-1", "store": "s3://b/a", "tracking_uri": "http://mlflow:5000"}
    monkeypatch.setattr(client, "FIRST_WAIT_S", 0.001)
    monkeypatch.setattr(
        submission, "compile_recipe", lambda recipe, package, part: package.write_text("pipelineInfo: {name: demo}")
    )
    with served(kubeflow) as host:
        with pytest.raises(KubeflowError, match="refuses"):
            submission.submit(recipe, KubeflowTarget(host), parameters)
        kubeflow.refusals = 2
        monkeypatch.setattr(submission, "in_a_pod", lambda: True)
        assert submission.submit(recipe, KubeflowTarget(host), parameters).again is False
    assert [run["display_name"] for run in kubeflow.kept["run"]] == ["demo-1"]


def test_one_client_asks_once_whether_there_are_several_users(tmp_path: Path) -> None:
    kubeflow = Kubeflow(token=TOKEN)
    with served(kubeflow) as url:
        code, output = submit(tmp_path, url, "--run", "demo-1")
    assert code == 0, output
    assert [path for _, path, _ in kubeflow.requests].count("/apis/v2beta1/healthz") == 1
