"""The champion in traffic on a real cluster: it answers, moves with its alias and back unnoticed; then it goes.

And the Job that compares models every night: what its status says of a worse model, and of a broken comparison.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from mlflow import MlflowClient
from rich.console import Console
from typer.testing import CliRunner

from components.base_model.base_model import import_model
from components.base_model.settings import BaseModelSettings
from components.core.journal import write_journal
from components.core.store import join
from components.kubernetes.client import Cluster, ClusterError
from components.kubernetes.objects import MODEL, labels
from components.kubernetes.pods import CONTAINER_SECURITY, POD_SECURITY
from components.registry.client import DIGEST
from components.registry.model_run import TrainedModel
from components.registry.registry import register
from pipelines.cli.deploy import commands
from pipelines.cli.models import promote_model, roll_back_champion
from pipelines.cluster import deploy
from pipelines.local.run import RunOptions
from pipelines.recipe import load_recipe
from tests.helpers.chart import pick, render
from tests.helpers.release import Release, kubectl
from tests.helpers.tiny_model import make_tiny_model
from tests.helpers.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.cluster]
STORE, NAME, RUN = "s3://srlm/artifacts", "deployed", "made-them"
CHAMPION, MINUTE = f"models:/{NAME}@champion", 60.0
SERVING = ("serving.pod={cpu: 100m, cpu_limit: 2, memory: 1Gi, memory_limit: 4Gi}",)  # two fit on a small node
SMALL = {  # all six, as the namespace has a LimitRange
    "requests": {"cpu": "50m", "memory": "128Mi", "ephemeral-storage": "64Mi"},
    "limits": {"cpu": "1", "memory": "512Mi", "ephemeral-storage": "256Mi"},
}
# One question after the other, each answer's model on a line of its own; a client gives up after 20 s.
ASK = f"""
import json, time, urllib.request
body = json.dumps({{"messages": [{{"role": "user", "content": "hi"}}], "max_tokens": 4}}).encode()
while True:
    try:
        asked = urllib.request.Request("http://model-{NAME}:8080/v1/chat/completions", body)
        asked.add_header("Content-Type", "application/json")
        print(json.load(urllib.request.urlopen(asked, timeout=20))["model"], flush=True)
    except Exception as error:
        print("FAILED", repr(error), flush=True)
    time.sleep(0.3)
"""


class Traffic:
    """Two registered models of which one is deployed, and a pod of the namespace that asks it all the time."""

    def __init__(self, release: Release, models: list[str]) -> None:
        self.release, self.models = release, models
        self.options = RunOptions(STORE, release.environment["SRLM_TRACKING_URI"])
        self.start_s = 0.0  # that the first server took

    def promote(self, number: int) -> None:
        promote_model(self.options, f"models:/{NAME}/{number + 1}", Console())

    def answers(self) -> list[str]:
        return kubectl(self.release.namespace, "logs", "asker").splitlines()

    def wait_for(self, number: int) -> float:
        """Seconds until the model answers; the last ten answers are then all its own."""
        started = time.monotonic()
        uri = self.models[number]
        wait_until(lambda: self.answers()[-1:] == [uri], 600)
        took = time.monotonic() - started
        wait_until(lambda: set(self.answers()[-10:]) == {uri})
        return took


def srlm(*arguments: str) -> str:
    done = CliRunner().invoke(commands, list(arguments))
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.stdout


def pod(cluster: Cluster, name: str, image: str, command: list[str]) -> None:
    container = {"name": name, "image": image, "command": command, "resources": SMALL}
    spec = {"securityContext": POD_SECURITY, "containers": [container | {"securityContext": CONTAINER_SECURITY}]}
    made = {"metadata": {"name": name, "labels": labels("asker")}, "spec": spec}
    cluster.core.create_namespaced_pod(cluster.namespace, made)


@pytest.fixture(scope="module")
def images(release: Release) -> dict[str, str]:
    return dict(release.cluster.core.read_namespaced_config_map("srlm", release.namespace).data)


@pytest.fixture(scope="module")
def models(release: Release, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """URIs of two tiny models in the release's store, registered as versions 1 and 2 by a run with a recipe."""
    write_journal(STORE, RUN, "recipe", "recipe", load_recipe("demo", SERVING).to_dict())
    client, uris = MlflowClient(release.environment["SRLM_TRACKING_URI"]), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SRLM_HOME", str(tmp_path_factory.mktemp("home")))
        for seed in (21, 22):
            folder = make_tiny_model(tmp_path_factory.mktemp("model"), seed)
            made = import_model(STORE, BaseModelSettings(base=str(folder)))
            uris.append(join(STORE, made.stage, made.key))
            register(client, TrainedModel(NAME, f"m{seed}", uris[-1], [], RUN))
    return uris


@pytest.fixture(scope="module")
def traffic(release: Release, models: list[str], images: dict[str, str]) -> Iterator[Traffic]:
    made = Traffic(release, models)
    made.promote(0)
    started = time.monotonic()
    shown = srlm("deploy", CHAMPION, "--engine=transformers", f"--namespace={release.namespace}")
    made.start_s = time.monotonic() - started
    assert f"http://model-{NAME}.{release.namespace}.svc:8080" in shown
    pod(release.cluster, "asker", images["SRLM_WORKER_IMAGE"], ["python3", "-c", ASK])
    try:
        kubectl(release.namespace, "wait", "pod/asker", "--for=condition=Ready", "--timeout=60s")
        yield made
    finally:
        srlm("undeploy", NAME, f"--namespace={release.namespace}")
        kubectl(release.namespace, "delete", "pod", "asker", "--now", "--ignore-not-found")


@pytest.fixture(scope="module", autouse=True)
def nightly(release: Release, images: dict[str, str]) -> None:
    """Two Jobs as the chart's CronJob makes them, whose comparison ends with 1 and with 2; they end meanwhile."""
    values = ("regression.enabled=true", f"regression.model=models:/{NAME}@candidate")
    made = pick(render(*(f"--set={one}" for one in values)), "CronJob", "srlm-model-regression")
    for code in (1, 2):
        job = json.loads(json.dumps(made["spec"]["jobTemplate"]))
        spec = job["spec"]["template"]["spec"]
        for container in (*spec["initContainers"], *spec["containers"]):
            container |= {"image": images["SRLM_TRAINER_IMAGE"], "resources": SMALL}
        spec["containers"][0]["command"] = ["sh", "-c", f"exit {code}"]
        body = {"metadata": {"name": f"nightly-{code}"}, **job}
        release.cluster.batch.create_namespaced_job(release.namespace, body)


def test_it_answers(traffic: Traffic) -> None:
    traffic.wait_for(0)


def test_promotion_moves_it_and_rollback_brings_it_back_within_a_minute_and_no_request_fails(
    traffic: Traffic,
) -> None:
    """From the alias to the first answer, with the new pod's start in between; a machine that has so much else to do
    that the first start took longer gets half as long again."""
    traffic.promote(1)
    there = traffic.wait_for(1)
    roll_back_champion(traffic.options, NAME, Console())
    back = traffic.wait_for(0)
    print(
        f"start {traffic.start_s:.0f} s, promotion {there:.0f} s, back {back:.0f} s: {len(traffic.answers())} answers"
    )
    assert max(there, back) < max(MINUTE, 1.5 * traffic.start_s + deploy.POLL_INTERVAL_S)
    assert not [line for line in traffic.answers() if line.startswith("FAILED")]


def test_files_with_another_digest_than_the_registry_s_never_answer(traffic: Traffic, release: Release) -> None:
    client = MlflowClient(traffic.options.tracking_uri)
    client.set_model_version_tag(NAME, "2", DIGEST, "0" * 64)
    client.set_registered_model_alias(NAME, "champion", "2")
    chosen = f"{MODEL}={NAME}"
    wait_until(lambda: "was to have the digest" in _weights_logs(release.cluster, chosen))
    assert set(traffic.answers()[-10:]) == {traffic.models[0]}
    client.set_registered_model_alias(NAME, "champion", "1")
    wait_until(lambda: len(_pods(release.cluster, chosen)) == 1)
    assert not [line for line in traffic.answers() if line.startswith("FAILED")]


def _pods(cluster: Cluster, chosen: str) -> list[Any]:
    found = cluster.core.list_namespaced_pod(cluster.namespace, label_selector=chosen).items
    return [one for one in found if one.metadata.name.startswith("model-")]


def _weights_logs(cluster: Cluster, chosen: str) -> str:
    """What the init containers that have started said."""
    told = ""
    for one in _pods(cluster, chosen):
        states = [status.state for status in one.status.init_container_statuses or []]
        if states and not states[0].waiting:
            with suppress(ClusterError):  # it has been replaced meanwhile
                told += cluster.core.read_namespaced_pod_log(one.metadata.name, cluster.namespace, container="weights")
    return told


def test_what_follows_may_change_its_one_object_and_no_more(traffic: Traffic, release: Release) -> None:
    account = f"--as=system:serviceaccount:{release.namespace}:follow-{NAME}"

    def may(*what: str) -> bool:
        return kubectl(release.namespace, "auth", "can-i", *what, account, check=False).strip() == "yes"

    assert may("patch", f"deployments/model-{NAME}") and may("get", f"deployments/model-{NAME}")
    for verb, what in (("patch", "deployments/srlm-mlflow"), ("list", "deployments"), ("get", "secrets")):
        assert not may(verb, what)
    assert not may("create", "deployments") and not may("delete", f"deployments/model-{NAME}")


def test_undeploy_leaves_nothing(traffic: Traffic, release: Release) -> None:
    assert f"removed Deployment model-{NAME}" in srlm("undeploy", NAME, f"--namespace={release.namespace}")
    kinds = "deployments,services,serviceaccounts,roles,rolebindings"
    assert kubectl(release.namespace, "get", kinds, "-l", f"{MODEL}={NAME}", "-o", "name") == ""


@pytest.mark.parametrize(("code", "reason"), [(1, "PodFailurePolicy"), (2, "BackoffLimitExceeded")])
def test_a_worse_model_differs_from_a_broken_comparison(release: Release, code: int, reason: str) -> None:
    def failed() -> list[str]:
        job = release.cluster.batch.read_namespaced_job(f"nightly-{code}", release.namespace)
        return [one.reason for one in job.status.conditions or [] if one.type == "Failed"]

    wait_until(lambda: failed() == [reason])
    kubectl(release.namespace, "delete", "job", f"nightly-{code}")
