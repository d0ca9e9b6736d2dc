"""A whole run without Kubeflow: the chart, a Job, a Deployment for each model, and nothing left of it afterwards.

All of it in a namespace with a ResourceQuota and a LimitRange, as a user whom no image knows (helpers/release.py), with
a registry behind a login and TLS of a private authority (helpers/registry_login.py).

It is the last of this folder, because it removes the release in the end.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml
from mlflow import MlflowClient

from components.core import store as store_module
from components.core.course import read_courses
from components.core.store import open_store
from components.kubernetes.client import Cluster, ClusterError
from components.kubernetes.objects import selector
from components.kubernetes.pods import CONTAINER_SECURITY, POD_SECURITY
from components.kubernetes.settings import ClusterSettings
from pipelines.cluster import permissions
from pipelines.cluster.reach import store_of_runs
from tests.helpers.registry_login import NAME, PASSWORD, registry_behind_login
from tests.helpers.release import (
    HARD,
    USER,
    USER_CONTEXT,
    Release,
    helm,
    kubectl,
    nothing_serves,
    run_pods,
    servers,
    srlm,
    wait_for_end,
)
from tests.helpers.small_world import store_small_world
from tests.helpers.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.cluster]
STORE = "s3://srlm/artifacts"
RUN = "world-on-the-cluster"
SIZES = ("evaluation.exact_answers.samples=2", "prompts.count=60", "dpo.max_steps=15")
LONGEST_RUN = 1500  # seconds
AWAY = os.environ.get("SRLM_TEST_AWAY")  # a command that takes the API server away for 20 s


@pytest.fixture(scope="module")
def manifests(release: Release, tmp_path_factory: pytest.TempPathFactory) -> str:
    """What `srlm manifests` prints for a small world whose files lie in the release's store."""
    recipe = store_small_world(tmp_path_factory.mktemp("world"), "s3://srlm/world")
    command = ["manifests", str(recipe), "--runner=job", f"--run={RUN}", *(f"--set={one}" for one in SIZES)]
    shape = {"spec": {"securityContext": USER_CONTEXT}}
    command += [f"--set=cluster.pods={json.dumps({'job': shape, 'server': shape})}"]
    command += registry_behind_login(release.cluster, USER)
    return srlm(*command, "--set=annotation.head_to_head=false", "--set=instructions=null")


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `srlm watch` prints of the run."""
    return tmp_path_factory.mktemp("watched") / "lines"


@pytest.fixture(scope="module")
def run(release: Release, manifests: str, watched: Path) -> Any:
    """The run, whose pod is taken away in its middle, then that of the server at which M1 judges, and with it the API
    server, which who asks it needs to wait for another; gives the Job's status at its end. It is watched all the time.
    """
    cluster = release.cluster
    kubectl(release.namespace, "create", "-f", "-", given=manifests)
    watch = [sys.executable, "-m", "pipelines.cli.main", "watch", RUN, f"--namespace={release.namespace}"]
    watching = subprocess.Popen(watch, stdout=watched.open("w"), stderr=subprocess.STDOUT)
    wait_until(lambda: bool(servers(cluster, RUN, "m1")), LONGEST_RUN)
    first, server, before = run_pods(cluster, RUN)[0], servers(cluster, RUN, "m1")[0], server_pods(cluster, "m1")
    cluster.core.delete_namespaced_pod(first.metadata.name, release.namespace, grace_period_seconds=0)
    assert server.spec.template.spec.security_context.run_as_user == USER
    wait_until(lambda: server.metadata.uid not in [one.metadata.uid for one in servers(cluster, RUN)])
    wait_until(lambda: any(one.name == "judge M1" and one.count for one in read_courses(STORE, RUN)), LONGEST_RUN)
    wait_until(lambda: "judge M1" in watched.read_text(), 60)
    wait_until(lambda: True in server_pods(cluster, "m1", besides=before).values(), LONGEST_RUN)
    [evicted] = server_pods(cluster, "m1", besides=before)
    about = {"metadata": {"name": evicted, "namespace": release.namespace}}
    cluster.core.create_namespaced_pod_eviction(evicted, release.namespace, about)
    if AWAY:
        subprocess.run(AWAY.split(), check=True)
    status = wait_for_end(cluster, RUN, LONGEST_RUN)
    assert first.metadata.uid not in [pod.metadata.uid for pod in run_pods(cluster, RUN)]
    assert watching.wait(60) == 0, watched.read_text()
    return status


def server_pods(cluster: Cluster, model: str, besides: Iterable[str] = ()) -> dict[str, bool]:
    """The pods of a model's server by name, and whether they answer; without those that are going."""
    chosen = selector("model-server", RUN, model)
    pods = cluster.core.list_namespaced_pod(cluster.namespace, label_selector=chosen).items
    return {
        pod.metadata.name: any(one.ready for one in pod.status.container_statuses or [])
        for pod in pods
        if not pod.metadata.deletion_timestamp and pod.metadata.name not in besides
    }


def test_a_run_that_lost_its_pod_goes_on_and_ends_well(run: Any, release: Release) -> None:
    assert run.succeeded == 1
    log = kubectl(release.namespace, "logs", f"job/{RUN}")
    assert "stages were reused" in log
    assert "the cluster answers again" in log or not AWAY


def test_who_watched_it_saw_each_step_and_its_end(run: Any, watched: Path) -> None:
    """As lines, since nobody's terminal was there; the pod that was lost and the API server that was away ended
    nothing."""
    lines = watched.read_text().splitlines()
    assert lines[-1] == f"{RUN}: finished"
    for step in ("open the run, import data", "train M1", "judge M1", "train M3", "gate and register M3", "report"):
        assert any(line.endswith(f"] {step}") for line in lines), step


def test_everything_ran_as_a_user_that_no_image_knows(run: Any, release: Release) -> None:
    """Store, registry and the Job; that the servers did is seen while they are there."""
    chosen = "app.kubernetes.io/instance=srlm"
    pods = release.cluster.core.list_namespaced_pod(release.namespace, label_selector=chosen).items
    assert len(pods) >= 2
    seen = [pod.spec.security_context for pod in (*pods, *run_pods(release.cluster, RUN))]
    assert {(one.run_as_user, one.run_as_group) for one in seen} == {(USER, None)}


def test_the_namespace_refuses_what_does_not_say_its_amounts(run: Any, release: Release) -> None:
    """So that the run passed there says something; and each pod of it counted."""
    container = {"name": "bare", "image": "none", "securityContext": CONTAINER_SECURITY}
    pod = {"metadata": {"name": "bare"}, "spec": {"securityContext": POD_SECURITY, "containers": [container]}}
    with pytest.raises(ClusterError, match="must specify|ratio"):
        release.cluster.core.create_namespaced_pod(release.namespace, pod)
    used = release.cluster.core.read_namespaced_resource_quota("people", release.namespace).status.used
    assert used.keys() == HARD.keys() and all(value != "0" for value in used.values())


def test_its_models_got_into_the_registry_through_the_login(run: Any, release: Release) -> None:
    """The run's config map names no other way to it."""
    found = MlflowClient(release.environment["SRLM_TRACKING_URI"]).get_registered_model("small-world").aliases
    assert {"sft", "m1", "m2", "m3", "candidate", "champion"} <= set(found)


def test_no_server_of_it_is_left(run: Any, release: Release) -> None:
    """Its Job stays for a day, with its log; `srlm cancel` removes that, too."""
    assert nothing_serves(release.cluster, RUN)
    assert [pod.status.phase for pod in run_pods(release.cluster, RUN)] == ["Succeeded"]


def test_the_service_account_may_what_a_run_needs_and_nothing_else(release: Release) -> None:
    """Beside what every account may: ask what it may, and read the API's own descriptions (the paths)."""
    account = f"system:serviceaccount:{release.namespace}:srlm"
    listed = kubectl(release.namespace, "auth", "can-i", "--list", f"--as={account}", "--no-headers")
    allowed = {}
    for line in listed.splitlines():
        resource, *_, verbs = re.split(r"\s{2,}|(?<=\])\s+", line.strip())
        if not resource.startswith(("[", "self")):
            allowed[resource] = set(verbs.strip("[]").split())
    assert allowed == {f"{one.resource}.{one.group}".rstrip("."): set(one.verbs) for one in permissions.RUN}


def test_no_secret_is_told(run: Any, release: Release, manifests: str) -> None:
    """The store's key and the registry's password stand in Secrets alone: in no manifest, log, tag or artifact."""
    planted, namespace = (release.environment["AWS_SECRET_ACCESS_KEY"], PASSWORD), release.namespace
    kinds = "configmaps,jobs,pods,deployments,services,events,replicasets"
    told = {"manifests": manifests, "log": kubectl(namespace, "logs", f"job/{RUN}")}
    told |= {"objects": kubectl(namespace, "get", kinds, "-o", "yaml")}
    store = open_store(f"{STORE}/runs/{RUN}")
    told |= {name: (store.read(name) or b"").decode() for name in store.names()}
    client = MlflowClient(release.environment["SRLM_TRACKING_URI"])
    told |= {one.version: str(one.tags) for one in client.search_model_versions("name = 'small-world'")}
    assert all(len(secret) >= 16 for secret in planted)
    assert [name for name, text in told.items() if any(secret in text for secret in planted)] == []


def test_how_far_it_came_is_read_with_a_kubeconfig_alone(
    run: Any, release: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the store this process knows nothing: the namespace's config map and secret say it, kubectl leads there."""
    for name in release.environment:
        monkeypatch.delenv(name)
    store_module._s3.cache_clear()
    with store_of_runs(release.cluster, ClusterSettings()) as store:
        courses = read_courses(store, RUN)
    told = [course.text for course in courses]
    assert (courses[0].name, told[-1]) == ("open the run, import data", "report: done")
    assert (
        len([text for text in told if text.endswith(": done")]) >= len(told) - 1
    )  # the lost pod's step may have failed
    store_module._s3.cache_clear()


def test_status_logs_and_cancel_know_the_run(run: Any, release: Release) -> None:
    namespace = f"--namespace={release.namespace}"
    assert "finished" in srlm("status", RUN, namespace)
    assert "reused" in srlm("logs", RUN, namespace)
    srlm("cancel", RUN, namespace)
    wait_until(lambda: not run_pods(release.cluster, RUN))
    kinds = "jobs,configmaps,pods,deployments,services"
    assert kubectl(release.namespace, "get", kinds, "-l", selector(run=RUN), "-o", "name") == ""


def test_the_release_is_tested_upgraded_and_removed(run: Any, release: Release) -> None:
    """An upgrade keeps the keys that the chart made; after the end only claims that are to stay are left."""
    namespace, secret = release.namespace, "{.data.AWS_SECRET_ACCESS_KEY}"
    before = kubectl(namespace, "get", "secret", "srlm", "-o", f"jsonpath={secret}")
    helm("test", namespace)
    helm("upgrade", namespace, "--reuse-values", "--set=regression.enabled=false", "--wait", "--timeout=5m")
    assert kubectl(namespace, "get", "secret", "srlm", "-o", f"jsonpath={secret}") == before
    kubectl(namespace, "delete", "pod,service", NAME)  # which are the test's own
    helm("uninstall", namespace, "--wait")
    # the reaper's Jobs go with their CronJob, a moment after it
    wait_until(lambda: kubectl(namespace, "get", "deployments,services,jobs,cronjobs", "-o", "name") == "")


def test_the_recipe_that_ran_can_be_read(manifests: str) -> None:
    config, job = yaml.safe_load_all(manifests)
    assert yaml.safe_load(config["data"]["recipe.yaml"])["model"]["base"] == "s3://srlm/world/model"
    assert job["metadata"]["name"] == RUN
