"""status, logs and cancel of Jobs and pods on a real cluster."""

from __future__ import annotations

from typing import Any

import pytest
from typer.testing import CliRunner

from components.kubernetes.client import Cluster
from components.kubernetes.diagnosis import PodFailure, diagnose, last_log_lines
from components.kubernetes.objects import labels
from pipelines.cli.runs import commands
from pipelines.cluster.job_runs import JobRuns
from tests.cluster.conftest import IMAGE
from tests.helpers.waiting import wait_until


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
    wait_until(lambda: any("toy-m1" in line and "runs" in line for line in jobs.details(jobs.find("toy")[0])))
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
@pytest.mark.parametrize(("command", "goes"), [(["true"], True), (["sleep", "600"], False)], ids=["ended", "at work"])
def test_what_a_run_left_goes_once_its_job_has_ended(cluster: Cluster, command: list[str], goes: bool) -> None:
    """As where its last step could not be made: the pod is there, with its log, and so would be what it owns."""
    space, shell = cluster.namespace, CliRunner()
    cluster.batch.create_namespaced_job(space, sleeping_job("toy", command))
    wait_until(lambda: bool(cluster.core.list_namespaced_pod(space).items))
    [pod] = cluster.core.list_namespaced_pod(space).items
    owner = {"apiVersion": "v1", "kind": "Pod", "name": pod.metadata.name, "uid": pod.metadata.uid}
    server = server_of("toy")
    server["metadata"]["ownerReferences"] = [owner]
    cluster.apps.create_namespaced_deployment(space, server)
    if goes:
        wait_until(lambda: "goes  server toy-m1" in shell.invoke(commands, ["clean", "--dry-run", "-n", space]).stdout)
    shown = shell.invoke(commands, ["clean", "--yes", "-n", space]).stdout
    assert ("removed the server toy-m1" if goes else "stays server toy-m1 of the run toy: it lives") in shown
    assert bool(cluster.apps.list_namespaced_deployment(space).items) is not goes


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
    wait_until(lambda: bool(jobs.details(jobs.find("refused")[0])))
    assert jobs.details(jobs.find("refused")[0]) == [
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
def test_real_pods_that_fail_in_every_way_say_which(cluster: Cluster) -> None:
    for made, _, _ in SICK.values():
        cluster.core.create_namespaced_pod(cluster.namespace, made)

    failures: dict[str, PodFailure] = {}

    def all_seen() -> bool:
        """A container that crashes works for a moment whenever it is started again."""
        for pod in cluster.core.list_namespaced_pod(cluster.namespace).items:
            if failure := diagnose(pod):
                failures[pod.metadata.name] = failure
        return len(failures) == len(SICK)

    wait_until(all_seen)
    assert {name: failure.kind for name, failure in failures.items()} == {
        name: kind for name, (_, kind, _) in SICK.items()
    }
    for name, (_, _, words) in SICK.items():
        assert words in failures[name].text
    crashed = cluster.core.read_namespaced_pod("crash", cluster.namespace)
    assert last_log_lines(cluster.core, crashed, "c") == ["no weights"]
