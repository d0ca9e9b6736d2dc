"""status, logs and cancel: of runs on this machine, and of Jobs and pods on a real cluster."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from components.core.errors import UserError
from components.core.processes import alive, end
from components.kubernetes.client import Cluster
from components.kubernetes.labels import labels
from components.kubernetes.troubles import Trouble, last_log_lines, trouble_of
from pipelines.cli.runs import commands
from pipelines.cluster.job_runs import JobRuns
from pipelines.cluster.kubeflow import KubeflowError, kfp_client
from pipelines.cluster.pod_states import _lines
from pipelines.cluster.runs import Answers, Run, age, recent
from pipelines.local.runs import LocalRuns
from tests.cluster.conftest import IMAGE, wait_until

RUN = "toy-20260101-000000-abcd"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the run RUN, in a home of its own."""
    monkeypatch.setenv("SRLM_HOME", str(tmp_path))
    made = tmp_path / "runs" / RUN
    made.mkdir(parents=True)
    (made / "pipeline.yaml").write_text("")
    return made


def tell(folder: Path, *events: dict[str, Any]) -> None:
    with (folder / "events.jsonl").open("a") as file:
        file.writelines(json.dumps({"time": 0.0, **event}) + "\n" for event in events)


def test_the_age_is_in_the_largest_unit_that_counts_at_least_two() -> None:
    """119 s are less than two minutes; 120 s are two; 47 h are less than two days."""
    now = datetime.now(UTC)
    ages = [age(now - timedelta(seconds=seconds)) for seconds in (119, 121, 47 * 3600 + 1, 48 * 3600 + 1)]
    assert ages == ["119 s", "2 min", "47 h", "2 d"]
    assert age(None) == "?", "not known is not now"


def test_a_local_run_is_stopped_failed_or_finished_by_what_it_left(folder: Path) -> None:
    tell(folder, {"kind": "step_start", "step": "m1/judging"})
    tell(folder, {"kind": "progress", "label": "judged", "done": 3, "total": 8})
    [stopped] = LocalRuns().find(RUN)
    assert (stopped.state, stopped.step) == ("stopped", "m1/judging (judged 3/8)")
    tell(folder, {"kind": "error", "step": "m1/judging", "problem": "no judge", "remedy": "Start one.", "trace": ""})
    [failed] = LocalRuns().find(RUN)
    assert failed.state == "failed" and "m1/judging: no judge. Start one." in LocalRuns().said(failed)
    (folder / "summary.json").write_text("{}")
    assert LocalRuns().find(RUN)[0].state == "finished", "an error that a later attempt got over is history"


def test_an_event_that_is_half_written_is_left_for_the_next_time(folder: Path) -> None:
    tell(folder, {"kind": "step_start", "step": "sft"})
    with (folder / "events.jsonl").open("a") as file:
        file.write('{"kind": "step_e')
    assert LocalRuns().find(RUN)[0].step == "sft"


@pytest.mark.parametrize("name", ["..", ".", "", "../runs", "nosuch"])
def test_a_name_that_is_no_run_finds_no_folder(folder: Path, name: str) -> None:
    assert LocalRuns().find(name) == []


def start_owner(folder: Path, seconds: int) -> subprocess.Popen[bytes]:
    """A process like `srlm run`, whose child looks like the walk of the run and ends with it."""
    walk = "import os, sys, time\nparent = os.getppid()\nwhile os.getppid() == parent: time.sleep(0.1)"
    owner = f"""
        import subprocess, sys, time
        subprocess.Popen([sys.executable, "-c", {walk!r}, "pipelines.local.execute", {str(folder / "pipeline.yaml")!r}])
        time.sleep({seconds})
    """
    return subprocess.Popen([sys.executable, "-c", textwrap.dedent(owner)])


def test_a_local_run_is_found_by_its_process_and_cancelled_once(folder: Path) -> None:
    owner = start_owner(folder, 300)
    try:
        wait_until(lambda: LocalRuns().find(RUN)[0].state == "running")
        shown = CliRunner().invoke(commands, ["cancel", RUN]).stdout
        assert f"ended the process {owner.pid}" in shown
        assert not alive(owner.pid)
        assert LocalRuns().cancel(LocalRuns().find(RUN)[0]) == [], "there is nothing left to end"
    finally:
        end(owner.pid)


def test_another_home_s_run_of_the_same_name_is_not_this_one(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / "runs" / RUN
    other.mkdir(parents=True)
    owner = start_owner(other, 300)
    try:
        time.sleep(1)
        assert LocalRuns().find(RUN)[0].state == "stopped"
    finally:
        end(owner.pid)


def test_a_log_that_is_followed_ends_with_its_run(folder: Path) -> None:
    (folder / "log.txt").write_text("first\n")
    owner = start_owner(folder, 3)
    try:
        wait_until(lambda: LocalRuns().find(RUN)[0].state == "running")
        lines = LocalRuns().log(LocalRuns().find(RUN)[0], follow=True)
        assert next(lines) == "first"
        with (folder / "log.txt").open("a") as file:
            file.write("second\n")
        assert list(lines) == ["second"]
    finally:
        end(owner.pid)


def test_lines_come_whole_however_the_stream_is_cut() -> None:
    """The two bytes of é lie in two chunks."""
    assert list(_lines(iter([b"caf\xc3", b"\xa9\nhal", b"f\n", b"rest"]))) == ["café", "half", "rest"]


class Dumb:
    name = "kubeflow"

    def recent(self) -> list[Any]:
        raise UserError("nobody there", "Start it.")


def test_a_kind_that_cannot_be_asked_is_named_and_does_not_hide_the_others(folder: Path) -> None:
    asked = recent([LocalRuns(), Dumb()])  # type: ignore[list-item]
    assert [run.name for _, run in asked.runs] == [RUN]
    assert asked.silent == ["kubeflow: nobody there"]
    with pytest.raises(UserError, match="kubeflow: nobody there"):
        Answers(silent=asked.silent).require("nosuch")


class Known:
    """A kind of runs that knows one, whose log is one line."""

    def __init__(self, kind: str) -> None:
        self.name = kind

    def find(self, run: str) -> list[Run]:
        return [Run(self.name, run, "running")]

    def log(self, run: Run, follow: bool) -> list[str]:
        return [f"told by {run.kind}"]


@pytest.mark.parametrize("beside", ["submission", "rest"])
def test_the_log_is_the_run_s_not_that_of_its_submission_or_its_servers(
    beside: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While Kubeflow serves a model, the server goes by the run's name as well."""
    monkeypatch.setattr("pipelines.cluster.runs.every_kind", lambda *_: [Known(beside), Known("kubeflow")])
    assert CliRunner().invoke(commands, ["logs", "toy"]).stdout == "told by kubeflow\n"


def test_no_kubeflow_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KF_PIPELINES_ENDPOINT", raising=False)
    with pytest.raises(KubeflowError, match="KF_PIPELINES_ENDPOINT"), kfp_client():
        pass
    with pytest.raises(KubeflowError, match="does not answer"), kfp_client("http://127.0.0.1:9"):
        pass


def sleeping_job(name: str, command: list[str], component: str = "run") -> dict[str, Any]:
    container = {"name": "srlm", "image": IMAGE, "imagePullPolicy": "IfNotPresent", "command": command}
    pod = {"restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "containers": [container]}
    marked = labels(component, name)
    template = {"metadata": {"labels": marked}, "spec": pod}
    return {"metadata": {"name": name, "labels": marked}, "spec": {"backoffLimit": 0, "template": template}}


def server_of(run: str) -> dict[str, Any]:
    marked = labels("model-server", run, "m1")
    container = {"name": "server", "image": IMAGE, "command": ["sleep", "600"]}
    pod = {"terminationGracePeriodSeconds": 1, "containers": [container]}
    spec = {"selector": {"matchLabels": marked}, "template": {"metadata": {"labels": marked}, "spec": pod}}
    return {"metadata": {"name": f"{run}-m1", "labels": marked}, "spec": spec}


@pytest.mark.cluster
def test_a_job_is_shown_with_its_step_followed_and_cancelled_with_all_it_has(cluster: Cluster) -> None:
    talk = "print('[1/2] data'); print('[2/2] m1/sampling', flush=True); import time; time.sleep(600)"
    space = cluster.namespace
    cluster.core.create_namespaced_config_map(space, {"metadata": {"name": "toy", "labels": labels("run", "toy")}})
    cluster.batch.create_namespaced_job(space, sleeping_job("toy", ["python3", "-c", talk]))
    cluster.apps.create_namespaced_deployment(space, server_of("toy"))
    jobs = JobRuns(space)
    wait_until(lambda: jobs.find("toy")[0].step == "m1/sampling (2/2)")
    wait_until(lambda: any("toy-m1" in line and "runs" in line for line in jobs.said(jobs.find("toy")[0])))
    assert [run.name for run in jobs.recent()] == ["toy"]
    lines = jobs.log(jobs.find("toy")[0], follow=True)
    assert [next(lines), next(lines)] == ["[1/2] data", "[2/2] m1/sampling"]
    removed = jobs.cancel(jobs.find("toy")[0])
    assert removed == ["removed the Job toy and its pod", "removed the ConfigMap toy", "removed the server toy-m1"]
    assert cluster.core.list_namespaced_pod(space).items == []
    assert jobs.find("toy") == []
    again = CliRunner().invoke(commands, ["cancel", "toy", "-n", space])
    assert again.exit_code == 0 and "there is no run 'toy' to cancel" in again.stdout


@pytest.mark.cluster
def test_servers_whose_job_is_gone_are_found_and_freed(cluster: Cluster) -> None:
    cluster.apps.create_namespaced_deployment(cluster.namespace, server_of("orphan"))
    jobs = JobRuns(cluster.namespace)
    [found] = jobs.find("orphan")
    assert found.state == "servers: 1, recipes: 0, without a Job"
    assert jobs.cancel(found) == ["removed the server orphan-m1"]
    assert jobs.find("orphan") == []


@pytest.mark.cluster
def test_a_recipe_whose_job_is_gone_is_removed_with_the_run_s_name_alone(cluster: Cluster) -> None:
    """A finished Job goes after a day; its config map stays. That of another run is not touched."""
    space = cluster.namespace
    for name, run in (("toy-01234567", "toy"), ("toy-2-01234567", "toy-2")):
        cluster.core.create_namespaced_config_map(space, {"metadata": {"name": name, "labels": labels("run", run)}})
    shown = CliRunner().invoke(commands, ["cancel", "toy", "-n", space]).stdout
    assert "removed the ConfigMap toy-01234567" in shown
    assert JobRuns(space).find("toy") == []
    assert JobRuns(space).find("toy-2")[0].state == "servers: 0, recipes: 1, without a Job"


@pytest.mark.cluster
def test_a_job_whose_pods_are_refused_says_so(cluster: Cluster) -> None:
    job = sleeping_job("refused", ["true"])
    job["spec"]["template"]["spec"]["serviceAccountName"] = "nosuch"
    cluster.batch.create_namespaced_job(cluster.namespace, job)
    jobs = JobRuns(cluster.namespace)
    wait_until(lambda: bool(jobs.said(jobs.find("refused")[0])))
    assert jobs.said(jobs.find("refused")[0]) == [
        f"job refused: the cluster refuses the pod: error looking up service account {cluster.namespace}/nosuch: "
        'serviceaccount "nosuch" not found'
    ]


def pod(name: str, **container: Any) -> dict[str, Any]:
    spec = {"name": "c", "image": IMAGE, "imagePullPolicy": "IfNotPresent", "command": ["sleep", "600"], **container}
    return {"metadata": {"name": name, "labels": labels("run", "sick")}, "spec": {"containers": [spec]}}


SICK = {
    "gpu": (
        pod("gpu", resources={"limits": {"example.com/gpu": "1"}}),
        "unschedulable",
        "1 Insufficient example.com/gpu",
    ),
    "image": (pod("image", image="localhost/nosuch:1"), "image", "localhost/nosuch:1"),
    "name": (pod("name", image="Localhost/NONE:1"), "image", "must be lowercase"),
    "secret": (pod("secret", envFrom=[{"secretRef": {"name": "nosuch"}}]), "config", 'secret "nosuch" not found'),
    "root": (
        pod("root", securityContext={"runAsNonRoot": True, "runAsUser": 0}),
        "config",
        "breaks non-root policy",
    ),
    "crash": (pod("crash", command=["sh", "-c", "echo no weights; exit 3"]), "crash", "exit code 3"),
    "memory": (
        pod("memory", command=["python3", "-c", "bytearray(400_000_000)"], resources={"limits": {"memory": "64Mi"}}),
        "out_of_memory",
        "its limit of 64Mi",
    ),
    "program": (pod("program", command=["nosuch"]), "config", "executable file not found"),
}


@pytest.mark.cluster
def test_real_pods_in_every_trouble_say_which(cluster: Cluster) -> None:
    for made, _, _ in SICK.values():
        cluster.core.create_namespaced_pod(cluster.namespace, made)

    found: dict[str, Trouble] = {}

    def all_seen() -> bool:
        """A container that crashes works for a moment whenever it is started again."""
        for one in cluster.core.list_namespaced_pod(cluster.namespace).items:
            if trouble := trouble_of(one):
                found[one.metadata.name] = trouble
        return len(found) == len(SICK)

    wait_until(all_seen)
    assert {name: trouble.kind for name, trouble in found.items()} == {
        name: kind for name, (_, kind, _) in SICK.items()
    }
    for name, (_, _, words) in SICK.items():
        assert words in found[name].text
    crashed = cluster.core.read_namespaced_pod("crash", cluster.namespace)
    assert last_log_lines(cluster.core, crashed, "c") == ["no weights"]
