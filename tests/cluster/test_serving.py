"""Serving a model on Kubernetes: each way in which it can fail, provoked and told in words."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.base_model.base_model import import_model
from components.base_model.settings import BaseModelSettings
from components.core.errors import UserError
from components.core.store import join
from components.kubernetes.client import Cluster, connect
from components.kubernetes.objects import selector
from components.kubernetes.removal import remove_servers
from components.kubernetes.settings import ClusterSettings
from components.serving.address import Address
from components.serving.kubernetes.engine import KubernetesEngine
from components.serving.kubernetes.manifests import server_name
from components.serving.settings import ServingSettings
from pipelines.cluster.manifests import JobRequest, manifests
from pipelines.recipe import load_recipe
from tests.helpers.release import RESTRICTED, Release
from tests.helpers.tiny_model import make_tiny_model
from tests.helpers.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.cluster]
STORE = "s3://srlm/artifacts"


class Served:
    """A model that can be served, under a run of its own."""

    def __init__(self, cluster: Cluster, model: str) -> None:
        self.cluster, self.model = cluster, model
        self.run = f"serving-{secrets.token_hex(4)}"
        self.name = server_name(self.run, "m1")

    def start(self, image: str = "", **settings: Any) -> str:
        return self.address(image, **settings).url

    def address(self, image: str = "", **settings: Any) -> Address:
        engine = KubernetesEngine("transformers", engine_image=image, _connected=self.cluster)
        return engine.start(self.run, "m1", self.model, ServingSettings(max_total_tokens=64, **settings))

    def pods(self) -> list[str]:
        chosen = selector("model-server", self.run)
        listed = self.cluster.core.list_namespaced_pod(self.cluster.namespace, label_selector=chosen).items
        return [pod.metadata.name for pod in listed if not pod.metadata.deletion_timestamp]

    def deployment(self) -> Any:
        return self.cluster.apps.read_namespaced_deployment(self.name, self.cluster.namespace)


@pytest.fixture(scope="module")
def model(release: Release, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The URI of a tiny model in the release's store."""
    folder = make_tiny_model(tmp_path_factory.mktemp("model"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SRLM_HOME", str(tmp_path_factory.mktemp("home")))
        manifest = import_model(STORE, BaseModelSettings(base=str(folder)))
    return join(STORE, manifest.stage, manifest.key)


@pytest.fixture
def served(release: Release, model: str) -> Iterator[Served]:
    made = Served(release.cluster, model)
    yield made
    remove_servers(made.cluster, made.run)


@pytest.fixture
def elsewhere(model: str) -> Iterator[Served]:
    """The same in a namespace of its own, which has a service account and nothing else."""
    cluster = connect(f"srlm-test-{secrets.token_hex(4)}")
    cluster.core.create_namespace({"metadata": {"name": cluster.namespace}})
    cluster.core.create_namespaced_service_account(cluster.namespace, {"metadata": {"name": "srlm"}})
    yield Served(cluster, model)
    cluster.core.delete_namespace(cluster.namespace)


def test_a_server_that_is_there_is_used_again(served: Served) -> None:
    """The second start changes nothing: the Deployment keeps its generation, and the pod its name."""
    url = served.start()
    before = served.deployment().metadata.generation
    assert url == f"http://{served.name}.{served.cluster.namespace}.svc:8080"
    started = time.monotonic()
    assert served.start() == url
    assert served.deployment().metadata.generation == before
    assert time.monotonic() - started < 10  # a start takes at least the engine's import


def test_any_user_in_group_0_serves(served: Served) -> None:
    """As on OpenShift, whose restricted-v2 gives each namespace a range of users: none of the images knows it."""
    user = {"runAsUser": 1_000_000_000 + secrets.randbelow(10**9), "runAsGroup": 0, "fsGroup": None}
    shapes = {"server": {"labels": {"team": "a"}, "spec": {"securityContext": user}}}
    engine = KubernetesEngine(
        "transformers", settings=ClusterSettings.model_validate({"pods": shapes}), _connected=served.cluster
    )
    assert engine.start(served.run, "m1", served.model, ServingSettings(max_total_tokens=64))
    template = served.deployment().spec.template
    assert template.spec.security_context.run_as_user == user["runAsUser"]
    assert template.metadata.labels["team"] == "a" and template.spec.security_context.fs_group is None


def test_an_evicted_server_is_waited_for_by_who_asks_it(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    """Its Deployment makes another pod; who asks is told what goes on until that one is ready, and then goes on."""
    address = served.address()
    [first] = served.pods()
    assert address.revive and address.revive() is False  # it is there
    space = served.cluster.namespace
    served.cluster.core.create_namespaced_pod_eviction(first, space, {"metadata": {"name": first, "namespace": space}})
    wait_until(address.revive)
    [second] = served.pods()
    assert second != first
    told = capsys.readouterr().err
    assert "m1 does not answer: it is waited for" in told and "m1: loading the model" in told
    assert told.rstrip().endswith("m1 is there again")


def test_removing_twice_is_fine(served: Served) -> None:
    served.start()
    assert remove_servers(served.cluster, served.run) == [served.name]
    assert remove_servers(served.cluster, served.run) == []
    wait_until(
        lambda: (
            not served.cluster.core.list_namespaced_pod(
                served.cluster.namespace, label_selector=f"self-rewarding-pipelines/run={served.run}"
            ).items
        )
    )


def test_no_such_image(served: Served) -> None:
    with pytest.raises(UserError, match="m1 cannot be served: server: its image localhost/none:1 cannot be had"):
        served.start(image="localhost/none:1")


def test_a_gpu_that_no_node_has(served: Served) -> None:
    """What it asks for beside them is within the namespace's quota."""
    pod = {"gpus": 2, "gpu_type": "example.com/gpu", "cpu": "500m", "memory": "2Gi"}
    with pytest.raises(UserError, match=r"no node takes the pod: .*Insufficient example.com/gpu.*asks for 2"):
        served.start(pod=pod, schedule_timeout=2)


def test_too_little_memory(served: Served) -> None:
    """torch alone needs more than 100 MiB."""
    with pytest.raises(UserError, match=r"server needs more memory than its limit of 100Mi \(OOMKilled\)"):
        served.start(pod={"memory": "100Mi"})


def test_a_crash_at_the_start_shows_the_last_lines_of_its_log(served: Served) -> None:
    with pytest.raises(UserError, match=r"(?s)server ended with exit code 2.*unrecognized arguments: --nonsense"):
        served.start(arguments=["--nonsense"])


def test_a_server_that_failed_starts_anew_once_the_cause_is_mended(served: Served) -> None:
    with pytest.raises(UserError, match="exit code 2"):
        served.start(arguments=["--nonsense"])
    assert served.start()


def test_a_quota(elsewhere: Served) -> None:
    limits = {"metadata": {"name": "small"}, "spec": {"hard": {"pods": "0"}}}
    elsewhere.cluster.core.create_namespaced_resource_quota(elsewhere.cluster.namespace, limits)
    with pytest.raises(UserError, match="the namespace's quota refuses the pod: exceeded quota: small"):
        elsewhere.start()


def test_a_namespace_that_refuses_the_pod(elsewhere: Served) -> None:
    """Ours passes "restricted", so a rule of another kind refuses it: no limit, where the namespace wants one."""
    limits = {"metadata": {"name": "large"}, "spec": {"limits": [{"type": "Container", "min": {"memory": "64Gi"}}]}}
    elsewhere.cluster.core.create_namespaced_limit_range(elsewhere.cluster.namespace, limits)
    with pytest.raises(UserError, match="the cluster refuses the pod: .*64Gi"):
        elsewhere.start(pod={"memory": "1Gi"})


def test_without_keys_the_weights_cannot_be_fetched(elsewhere: Served) -> None:
    with pytest.raises(UserError, match=r"(?s)weights ended with exit code 2.*the store s3://srlm"):
        elsewhere.start()


def test_its_pods_pass_restricted(elsewhere: Served) -> None:
    """The namespace refuses nothing of ours: what fails is the store, which is not there."""
    elsewhere.cluster.core.patch_namespace(elsewhere.cluster.namespace, {"metadata": {"labels": RESTRICTED}})
    with pytest.raises(UserError, match="weights ended with exit code 2"):
        elsewhere.start()


def test_removed_while_it_is_waited_for(served: Served) -> None:
    def remove() -> None:
        wait_until(
            lambda: bool(
                served.cluster.core.list_namespaced_pod(
                    served.cluster.namespace, label_selector=f"self-rewarding-pipelines/run={served.run}"
                ).items
            )
        )
        remove_servers(served.cluster, served.run)

    remover = threading.Thread(target=remove)
    remover.start()
    with pytest.raises(UserError, match=f"the server {served.name} was removed while it was waited for"):
        served.start()
    remover.join()


def test_a_folder_is_no_store_of_a_cluster(served: Served, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot fetch"):
        KubernetesEngine("transformers", _connected=served.cluster).start(
            served.run, "m1", str(tmp_path), ServingSettings()
        )


def test_the_guard_ends_the_servers_of_a_run_that_failed(served: Served) -> None:
    """The run's container ends with an error and is not started again; its pod stays, its server does not."""
    served.start()
    recipe, namespace = load_recipe("world"), served.cluster.namespace
    _, job = yaml.safe_load_all(manifests(recipe, JobRequest(served.run, "job")))
    spec = job["spec"]["template"]["spec"]
    spec["containers"][0]["command"] = ["sh", "-c", "exit 1"]
    spec["volumes"] = [one for one in spec["volumes"] if "configMap" not in one]
    mounts = spec["containers"][0]["volumeMounts"]
    spec["containers"][0]["volumeMounts"] = [one for one in mounts if one["name"] != "recipe"]
    served.cluster.batch.create_namespaced_job(namespace, job | {"spec": job["spec"] | {"backoffLimit": 0}})
    chosen = selector("model-server", served.run)
    wait_until(lambda: not served.cluster.apps.list_namespaced_deployment(namespace, label_selector=chosen).items)
    failed = served.cluster.core.list_namespaced_pod(namespace, label_selector=selector("run", served.run)).items
    assert [pod.status.container_statuses[0].state.terminated.exit_code for pod in failed] == [1]
    served.cluster.batch.delete_namespaced_job(served.run, namespace, propagation_policy="Background")
