"""`srlm manifests`: a run as resources for kubectl, whole, valid and admitted where Pod Security is "restricted"."""

from __future__ import annotations

import os
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from typer.testing import CliRunner

from components.errors import UserError
from components.images import TRAINER, WORKER
from pipelines.cli_submission import commands
from pipelines.cluster.manifests import Asked, manifests
from pipelines.compile import load_recipe_for_elsewhere
from pipelines.recipe import load_recipe, shipped_recipes

RUNNERS = ("kubeflow", "job")
ASKED = [
    "resources.gpus=8",
    "resources.memory=200Gi",
    "resources.shared_memory=16Gi",
    "resources.node_selector={pool: training}",
    "resources.tolerations=[{key: gpu, operator: Exists}]",
    "cluster.service_account=runner",
    "cluster.queue=team",
    "cluster.image_pull_secrets=[mine]",
]
KUBECONFIG = os.environ.get("SRLM_TEST_KUBECONFIG") or os.environ.get("KUBECONFIG")


def made(runner: str, *overrides: str, **asked: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Config map and Job of the recipe `demo`."""
    recipe = load_recipe_for_elsewhere("demo", overrides)
    text = manifests(recipe, Asked("demo-1", runner, **asked))  # type: ignore[arg-type]
    config_map, job = yaml.safe_load_all(text)
    return config_map, job


def container(job: dict[str, Any]) -> dict[str, Any]:
    (only,) = job["spec"]["template"]["spec"]["containers"]
    return dict(only)


def printed(*arguments: str) -> tuple[str, str]:
    """stdout and stderr of `srlm manifests`."""
    app = typer.Typer()
    app.add_typer(commands)
    result = CliRunner().invoke(app, ["manifests", *arguments])
    assert result.exit_code == 0, result.output
    return result.stdout, result.stderr


@pytest.mark.parametrize("name", shipped_recipes())
def test_the_config_map_holds_the_recipe_whole(name: str, tmp_path: Path) -> None:
    """What the pod reads is the recipe that was asked for, overrides and files of the recipe included."""
    recipe = load_recipe_for_elsewhere(name, ["rounds=3"])
    config_map, _ = yaml.safe_load_all(manifests(recipe, Asked("a-run")))
    (tmp_path / "recipe.yaml").write_text(config_map["data"]["recipe.yaml"])
    assert load_recipe_for_elsewhere(str(tmp_path / "recipe.yaml")) == recipe
    assert load_recipe(str(tmp_path / "recipe.yaml")).rounds == 3


def test_a_job_walks_the_pipeline_in_its_pod_with_what_training_needs() -> None:
    _, job = made("job", *ASKED, namespace="team")
    pod, work = job["spec"]["template"]["spec"], container(job)
    assert work["command"] == ["srlm", "run", "/recipe/recipe.yaml", "--run=demo-1", "--engine=transformers"]
    assert work["image"] == TRAINER
    assert work["resources"]["limits"] == {"memory": "200Gi", "nvidia.com/gpu": "8"}
    assert (pod["nodeSelector"], pod["serviceAccountName"]) == ({"pool": "training"}, "runner")
    assert pod["tolerations"] == [{"key": "gpu", "operator": "Exists"}]
    assert pod["imagePullSecrets"] == [{"name": "mine"}]
    assert {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "16Gi"}} in pod["volumes"]
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "team"
    assert job["metadata"]["namespace"] == "team"
    assert [one["name"] for one in work["env"]] == ["HOME", "SRLM_HOME", "SRLM_POD_NAME"]
    assert pod["automountServiceAccountToken"], "it makes the servers"


def test_a_job_whose_training_has_nodes_of_its_own_takes_no_gpu() -> None:
    _, job = made("job", *ASKED, "resources.nodes=2")
    assert "nvidia.com/gpu" not in container(job)["resources"]["limits"]
    assert "nodeSelector" not in job["spec"]["template"]["spec"]
    assert "kueue.x-k8s.io/queue-name" not in job["metadata"]["labels"]


def test_a_submission_is_small_and_shows_kubeflow_a_token_made_for_it_alone() -> None:
    """The token is for the audience that Kubeflow's API asks for; the pod holds none for Kubernetes."""
    _, job = made("kubeflow", *ASKED)
    pod, work = job["spec"]["template"]["spec"], container(job)
    assert work["command"] == ["srlm", "submit", "/recipe/recipe.yaml", "--run=demo-1", "--namespace=$(NAMESPACE)"]
    assert work["image"] == WORKER
    assert work["resources"]["limits"] == {"memory": "1Gi"}
    assert not pod["automountServiceAccountToken"]
    (token,) = [volume["projected"] for volume in pod["volumes"] if "projected" in volume]
    assert [one["serviceAccountToken"]["audience"] for one in token["sources"]] == ["pipelines.kubeflow.org"]
    path = next(one["value"] for one in work["env"] if one["name"] == "KF_PIPELINES_SA_TOKEN_PATH")
    mounted = next(one["mountPath"] for one in work["volumeMounts"] if one["name"] == "kubeflow-token")
    assert path == f"{mounted}/{token['sources'][0]['serviceAccountToken']['path']}"


@pytest.mark.parametrize("runner", RUNNERS)
def test_a_pod_that_fails_is_started_again_and_an_eviction_does_not_count(runner: str) -> None:
    _, job = made(runner)
    (eviction,) = job["spec"]["podFailurePolicy"]["rules"]
    assert (eviction["action"], eviction["onPodConditions"][0]["type"]) == ("Ignore", "DisruptionTarget")
    assert (job["spec"]["backoffLimit"], job["spec"]["ttlSecondsAfterFinished"]) == (3, 86400)


def test_stdout_holds_yaml_alone_and_each_call_names_another_run() -> None:
    names = []
    for _ in range(2):
        output, told = printed("world", "--runner", "job", "--image", "here/trainer:2")
        config_map, job = yaml.safe_load_all(output)
        assert container(job)["image"] == "here/trainer:2"
        assert config_map["metadata"] == job["metadata"] | {"labels": config_map["metadata"]["labels"]}
        assert "model.base: ./world/model" in told, "a pod has no file of this machine"
        names.append(job["metadata"]["name"])
    assert len(set(names)) == 2


def test_a_name_that_kubernetes_refuses_and_an_unknown_runner_are_told() -> None:
    with pytest.raises(UserError, match="cannot be named 'My_Run'"):
        manifests(load_recipe_for_elsewhere("demo"), Asked("My_Run"))
    result = CliRunner().invoke(commands, ["manifests", "demo", "--runner", "argo"])
    assert isinstance(result.exception, UserError)
    assert "there is no runner 'argo'" in str(result.exception)


@pytest.fixture
def restricted() -> Iterator[str]:
    """A namespace of the real cluster that enforces Pod Security "restricted"; it goes afterwards."""
    name = f"manifests-{secrets.token_hex(3)}"
    kubectl("create", "namespace", name)
    kubectl("label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted")
    kubectl("-n", name, "create", "serviceaccount", "runner")
    yield name
    kubectl("delete", "namespace", name, "--wait=false")


def kubectl(*arguments: str, document: str = "") -> str:
    command = ["kubectl", f"--kubeconfig={KUBECONFIG}", *arguments]
    done = subprocess.run(command, input=document, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.cluster
@pytest.mark.skipif(not KUBECONFIG, reason="no cluster: set SRLM_TEST_KUBECONFIG or KUBECONFIG")
@pytest.mark.parametrize("runner", RUNNERS)
@pytest.mark.parametrize("overrides", [[], ASKED], ids=["defaults", "everything"])
def test_a_real_api_server_takes_them_and_admits_the_pod(restricted: str, runner: str, overrides: list[str]) -> None:
    """Admission looks at pods alone, so the Job's pod is asked for by itself too."""
    overrides = [*overrides, "cluster.service_account=runner"]
    text = manifests(load_recipe_for_elsewhere("demo", overrides), Asked("demo-1", runner))  # type: ignore[arg-type]
    create = ("-n", restricted, "create", "--dry-run=server", "--validate=strict", "-f", "-")
    assert "job.batch/demo-1 created" in kubectl(*create, document=text)
    template = list(yaml.safe_load_all(text))[1]["spec"]["template"]
    pod = {"apiVersion": "v1", "kind": "Pod", **template, "metadata": {"name": "demo-1", **template["metadata"]}}
    assert "pod/demo-1 created" in kubectl(*create, document=yaml.safe_dump(pod))
