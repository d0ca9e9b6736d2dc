"""`srlm manifests`: a run as resources for kubectl, whole, valid and admitted where Pod Security is "restricted"."""

from __future__ import annotations

import os
import re
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from typer.testing import CliRunner

from components.core.errors import UserError
from components.core.images import TRAINER, WORKER
from components.kubernetes.objects import RUN
from pipelines.cli.submit import commands
from pipelines.cluster.manifests import JobRequest, manifests
from pipelines.compile import load_recipe_for_elsewhere
from pipelines.recipe import load_recipe, shipped_recipes
from tests.helpers.chart import CHART, PRELOADED, helm, pick, render

RUNNERS = ("kubeflow", "job")
BATCHES = ["sft.batch_size=32", "dpo.batch_size=32"]  # for 8 or 16 GPUs
ASKED = [
    *BATCHES,
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
    text = manifests(recipe, JobRequest("demo-1", runner, **asked))  # type: ignore[arg-type]
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
    config_map, _ = yaml.safe_load_all(manifests(recipe, JobRequest("a-run")))
    (tmp_path / "recipe.yaml").write_text(config_map["data"]["recipe.yaml"])
    assert load_recipe_for_elsewhere(str(tmp_path / "recipe.yaml")) == recipe
    assert load_recipe(str(tmp_path / "recipe.yaml")).rounds == 3


def test_a_job_runs_the_pipeline_in_its_pod_with_what_training_needs() -> None:
    _, job = made("job", *ASKED, namespace="team")
    pod, work = job["spec"]["template"]["spec"], container(job)
    assert work["command"] == ["srlm", "run", "/recipe/recipe.yaml", "--run=demo-1", "--engine=transformers"]
    assert work["image"] == TRAINER
    devices = {"nvidia.com/gpu": "8", "ephemeral-storage": "1600Gi"}  # a disk of 200Gi for each
    assert work["resources"]["limits"] == {"cpu": "64", "memory": "200Gi"} | devices
    assert (pod["nodeSelector"], pod["serviceAccountName"]) == ({"pool": "training"}, "runner")
    assert pod["tolerations"] == [{"key": "gpu", "operator": "Exists"}]
    assert pod["imagePullSecrets"] == [{"name": "mine"}]
    assert {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "16Gi"}} in pod["volumes"]
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "team"
    assert job["metadata"]["namespace"] == "team"
    assert [one["name"] for one in work["env"]] == ["HOME", "TMPDIR", "SRLM_HOME", "SRLM_POD_NAME"]
    assert pod["automountServiceAccountToken"], "it makes the servers"


def test_a_job_whose_training_has_nodes_of_its_own_takes_no_gpu() -> None:
    _, job = made("job", *ASKED, "resources.nodes=2")
    assert "nvidia.com/gpu" not in container(job)["resources"]["limits"]
    assert "nodeSelector" not in job["spec"]["template"]["spec"]
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "team", "a queue counts cores, too"


def test_a_submission_is_small_and_shows_kubeflow_a_token_made_for_it_alone() -> None:
    """The token is for the audience that Kubeflow's API asks for; the pod holds none for Kubernetes."""
    _, job = made("kubeflow", *ASKED)
    pod, work = job["spec"]["template"]["spec"], container(job)
    assert work["command"] == ["srlm", "submit", "/recipe/recipe.yaml", "--run=demo-1", "--namespace=$(NAMESPACE)"]
    assert work["image"] == WORKER
    assert work["resources"]["limits"] == {"cpu": "2", "memory": "4Gi", "ephemeral-storage": "4Gi"}
    assert not pod["automountServiceAccountToken"]
    (token,) = [volume["projected"] for volume in pod["volumes"] if "projected" in volume]
    assert [one["serviceAccountToken"]["audience"] for one in token["sources"]] == ["pipelines.kubeflow.org"]
    path = next(one["value"] for one in work["env"] if one["name"] == "KF_PIPELINES_SA_TOKEN_PATH")
    mounted = next(one["mountPath"] for one in work["volumeMounts"] if one["name"] == "kubeflow-token")
    assert path == f"{mounted}/{token['sources'][0]['serviceAccountToken']['path']}"


@pytest.mark.parametrize("runner", RUNNERS)
def test_the_image_of_the_engine_can_be_named(runner: str) -> None:
    """As for `srlm submit` and `srlm run`, which get it: nodes without GPUs need another one of vLLM."""
    asked = ["--engine=vllm", "--engine-image=vllm-on-cpus:1"]
    _, job = yaml.safe_load_all(printed("demo", f"--runner={runner}", *asked)[0])
    assert container(job)["command"][-2:] == asked
    assert not any(word.startswith("--engine-image") for word in container(made(runner)[1])["command"])


@pytest.mark.parametrize("runner", RUNNERS)
def test_another_recipe_under_a_run_s_name_never_gets_the_old_one(runner: str) -> None:
    """A config map outlives its Job; where one of its name is there, `kubectl create` refuses it but makes the Job."""
    maps = []
    for override in ("seed=17", "seed=18", "seed=17"):
        config_map, job = made(runner, override)
        (mounted,) = [one["configMap"] for one in job["spec"]["template"]["spec"]["volumes"] if "configMap" in one]
        assert mounted == {"name": config_map["metadata"]["name"]}
        assert config_map["metadata"]["labels"][RUN] == job["metadata"]["name"] == "demo-1", "srlm cancel finds it"
        maps.append(mounted["name"])
    assert maps[0] != maps[1] and maps[0] == maps[2]
    assert re.fullmatch("demo-1-[0-9a-f]{8}", maps[0])


def test_gpus_that_a_job_holds_beside_its_servers_are_told() -> None:
    """8 of the trainer and 2 replicas with 4 each are 16. On several nodes the pod itself holds none."""
    pods = ["--set=resources.gpus=8", "--set=serving.replicas=2", "--set=serving.pod.gpus=4"]
    pods += [f"--set={batch}" for batch in BATCHES]
    _, told = printed("demo", "--runner=job", *pods)
    (line,) = told.splitlines()
    assert "16 in all" in line and "Kubeflow (--runner kubeflow) frees them between steps" in line
    others = (["--runner=job"], ["--runner=kubeflow", *pods], ["--runner=job", "--engine=endpoint", *pods])
    for other in (*others, ["--runner=job", "--set=resources.nodes=2", *pods]):
        assert printed("demo", *other)[1] == "", other


@pytest.mark.parametrize("runner", RUNNERS)
def test_istio_puts_no_proxy_beside_a_job_that_has_to_end(runner: str) -> None:
    _, job = made(runner)
    assert job["spec"]["template"]["metadata"]["labels"]["sidecar.istio.io/inject"] == "false"


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
        assert config_map["metadata"]["labels"] == job["metadata"]["labels"]
        assert "model.base: ./world/model" in told, "a pod has no file of this machine"
        names.append(job["metadata"]["name"])
    assert len(set(names)) == 2


@pytest.mark.parametrize("moved", [[], ["--set=images.registry=registry.test/mirror"], ["--set=images.tag=2.0.0"]])
def test_the_commands_that_the_chart_prints_start_its_own_images_and_need_no_gpu(moved: list[str]) -> None:
    """Whoever installs it copies them: the Job's image is the one that the chart's config map names."""
    values = ["--set=config.pipelinesEndpoint=http://ml-pipeline.kubeflow:8888", *moved]
    notes = helm("install", "srlm", str(CHART), "--namespace=runs", "--dry-run=client", PRELOADED, *values).stdout
    commands = [line.split("|")[0].split()[2:] for line in notes.splitlines() if "srlm manifests" in line]
    works = [container(list(yaml.safe_load_all(printed(*command)[0]))[1]) for command in commands]
    named = pick(render(*values), "ConfigMap", "srlm")["data"]
    assert [work["image"] for work in works] == [named["SRLM_TRAINER_IMAGE"], named["SRLM_WORKER_IMAGE"]]
    assert all("--engine=transformers" in work["command"] for work in works)


def test_a_name_that_kubernetes_refuses_and_an_unknown_runner_are_told() -> None:
    with pytest.raises(UserError, match="cannot be named 'My_Run'"):
        manifests(load_recipe_for_elsewhere("demo"), JobRequest("My_Run"))
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
    text = manifests(load_recipe_for_elsewhere("demo", overrides), JobRequest("demo-1", runner))  # type: ignore[arg-type]
    create = ("-n", restricted, "create", "--dry-run=server", "--validate=strict", "-f", "-")
    assert "job.batch/demo-1 created" in kubectl(*create, document=text)
    template = list(yaml.safe_load_all(text))[1]["spec"]["template"]
    pod = {"apiVersion": "v1", "kind": "Pod", **template, "metadata": {"name": "demo-1", **template["metadata"]}}
    assert "pod/demo-1 created" in kubectl(*create, document=yaml.safe_dump(pod))
