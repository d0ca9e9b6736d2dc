"""Compiled packages: what Kubernetes is told about each step, what is checked in, and the resources for kubectl."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from components.core.images import TRAINER
from components.kubernetes.objects import KEEP
from components.kubernetes.pods import FROM_CONFIG_MAP, FROM_SECRET, OF_ANNOTATOR, OF_JUDGE, OF_POLICY, PLACES
from pipelines.cli.main import app
from pipelines.compile import compile_manifests, compile_recipe, load_recipe_for_elsewhere, version_of
from pipelines.graph.pods import ENGINE_IMAGES, whole
from pipelines.graph.self_rewarding import self_rewarding_pipeline
from pipelines.recipe import shipped_recipes
from tests.helpers.paths import ROOT

TRAINING = ("sft", "dpo")
POD = [
    "resources.gpus=8",
    "resources.cpu='32'",
    "resources.memory=100.5Gi",
    "resources.shared_memory=64Gi",
    "resources.node_selector={pool: training}",
    "resources.tolerations=[{key: gpu, operator: Exists, effect: NoExecute, tolerationSeconds: 60}]",
    "cluster.queue=team",
    "cluster.image_pull_secrets=[mine]",
    "cluster.config_map=where",
    "cluster.secret=keys",
]


def compiled(folder: Path, *overrides: str) -> list[dict[str, Any]]:
    path = folder / "pipeline.yaml"
    compile_recipe(load_recipe_for_elsewhere("llama3-8b", overrides), path)
    return list(yaml.safe_load_all(path.read_text()))


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """A recipe that asks for everything, compiled."""
    return compiled(tmp_path_factory.mktemp("asked"), *POD)


def executors(document: dict[str, Any]) -> dict[str, Any]:
    kubernetes = document["platforms"]["kubernetes"] if "platforms" in document else document
    found: dict[str, Any] = kubernetes["deploymentSpec"]["executors"]
    return found


def trains(executor: str) -> bool:
    return executor.removeprefix("exec-").split("-")[0] in TRAINING


def test_the_pods_of_all_steps_are_refused_root_and_get_their_environment_by_reference(
    asked: list[dict[str, Any]],
) -> None:
    """The exit step is one of them: its image comes from the parameter too, else no private registry has it."""
    spec, platform = asked
    assert set(executors(platform)) == set(executors(spec))
    for name, pod in executors(platform).items():
        assert pod["securityContext"] == {"runAsNonRoot": True}, name
        assert pod["imagePullPolicy"] == "IfNotPresent"
        assert [one["secretName"] for one in pod["imagePullSecret"]] == ["mine"]
        (config_map, *more), (secret,) = pod["configMapAsEnv"], pod["secretAsEnv"]
        places = [one["envVar"] for source in more for one in source["keyToEnv"]]
        assert places == (list(PLACES) if name in ("exec-prepare", "exec-finish") else []), name
        assert (config_map["configMapName"], config_map["optional"]) == ("where", True)
        assert (secret["secretName"], secret["optional"]) == ("keys", True)
        every = OF_POLICY + OF_JUDGE + OF_ANNOTATOR
        keys = {"prepare": every, "sample-judge-measure": every, "write-all-prompts": OF_POLICY, "dpo": OF_JUDGE}
        keys |= dict.fromkeys(("eft-measure", "measure"), OF_POLICY + OF_ANNOTATOR)
        own = keys.get(name.removeprefix("exec-"), ())
        assert [one["secretKey"] for one in secret["keyToEnv"]] == [*FROM_SECRET, *own], name
        images = ENGINE_IMAGES if OF_POLICY[0] in own else ()  # of servers that it may start
        assert [one["envVar"] for one in config_map["keyToEnv"]] == [*FROM_CONFIG_MAP, *images], name
        lent = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"}  # keys for a time have all three
        assert lent <= {one["envVar"] for one in secret["keyToEnv"]}
    images = {executor["container"]["image"] for executor in executors(spec).values()}
    assert images == {f"{{{{$.inputs.parameters['pipelinechannel--{name}_image']}}}}" for name in ("worker", "trainer")}


def test_only_steps_that_train_take_gpus_and_go_where_they_are(asked: list[dict[str, Any]]) -> None:
    """100.5 Gi is 107911053312 bytes, as KFP wants it: it knows no fractions."""
    spec, platform = asked
    for name, pod in executors(platform).items():
        resources = executors(spec)[name]["container"].get("resources")
        if not trains(name):
            imports = name == "exec-import-models"  # its disk is told as an accelerator
            assert resources.get("accelerator", {}).get("resourceType") == ("ephemeral-storage" if imports else None)
            assert [one["mountPath"] for one in pod.get("emptyDirMounts", [])] == (["/work"] if imports else []), name
            assert not {"nodeSelector", "tolerations"} & set(pod), name
            assert "labels" not in pod.get("podMetadata", {}), name  # no queue
            continue
        assert resources["accelerator"]["resourceType"] == "nvidia.com/gpu"
        assert resources["accelerator"]["resourceCount"] == "8"
        assert resources["resourceCpuRequest"] == "32"
        assert resources["resourceCpuLimit"] == "32"
        assert resources["resourceMemoryRequest"] == resources["resourceMemoryLimit"] == "107911053312"
        assert pod["nodeSelector"]["labels"] == {"pool": "training"}
        toleration = {"key": "gpu", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": "60"}
        assert pod["tolerations"] == [toleration]
        assert pod["podMetadata"]["labels"] == {"kueue.x-k8s.io/queue-name": "team"}
        memory = {"volumeName": "shm", "mountPath": "/dev/shm", "medium": "Memory", "sizeLimit": "64Gi"}
        scratch, shm = sorted(pod["emptyDirMounts"], key=lambda mount: mount["volumeName"], reverse=True)
        assert (scratch["mountPath"], shm) == ("/work", memory)
    assert sum(map(trains, executors(platform))) == 2  # sft and dpo, whatever the number of their tasks


def test_with_several_nodes_the_step_itself_takes_nothing(tmp_path: Path) -> None:
    """A TrainJob's pods train; a step that waited for them with GPUs of its own would wait for ever on one node."""
    spec, platform = compiled(tmp_path, *POD, "resources.nodes=2")
    for name, pod in executors(platform).items():
        imports = name == "exec-import-models"
        asked_for = executors(spec)[name]["container"]["resources"]["resourceCpuRequest"]
        assert asked_for == ("500m" if imports else "100m"), name
        assert "nodeSelector" not in pod and ("emptyDirMounts" in pod) == imports, name
        assert "labels" not in pod.get("podMetadata", {}), name


def test_no_autoscaler_moves_the_pod_of_a_step_that_takes_long(asked: list[dict[str, Any]]) -> None:
    """One that asks a model, imports one or trains; the others are over before an autoscaler looks."""
    for name, pod in executors(asked[1]).items():
        long = name.removeprefix("exec-").split("-")[0] not in ("pair", "register", "gate", "finish", "compare")
        assert (pod.get("podMetadata", {}).get("annotations") == KEEP) is long, name


def test_no_step_and_no_pipeline_uses_kfp_s_cache(asked: list[dict[str, Any]]) -> None:
    assert "enableCache" not in str(asked[0])


@pytest.mark.parametrize(
    ("quantity", "bytes_"),
    [("200Gi", "200Gi"), ("64M", "64M"), ("1000", "1000"), ("1.5G", "1500000000"), ("2k", "2000")],
)
def test_quantities_are_written_as_kfp_reads_them(quantity: str, bytes_: str) -> None:
    assert whole(quantity) == bytes_


def test_the_packages_that_are_checked_in_are_what_the_recipes_compile_to(tmp_path: Path) -> None:
    """Stale? `make compile`. Another process, folder and hash order make the same bytes, with no machine's path."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "7"}
    command = [sys.executable, "-m", "pipelines.compiled", str(tmp_path / "packages")]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True)
    kept = {path.name: path.read_text() for path in (ROOT / "pipelines/compiled").glob("*.yaml")}
    made = {path.name: path.read_text() for path in (tmp_path / "packages").glob("*.yaml")}
    assert set(made) == set(kept) == {f"{name}.yaml" for name in shipped_recipes()}
    assert [name for name in made if made[name] != kept[name]] == []
    assert not any(str(place) in text for text in kept.values() for place in (ROOT, tmp_path, Path.home()))
    assert "./world/model" in kept["world.yaml"]


def test_files_stay_relative_even_where_they_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "world" / "model").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert load_recipe_for_elsewhere("world").model.base == "./world/model"
    assert Path.cwd() == tmp_path


def test_resources_for_kubectl_hold_the_package_and_name_its_content(tmp_path: Path) -> None:
    """What a version specifies can never change in the cluster, so another content must have another name."""
    package, manifests = tmp_path / "pipeline.yaml", tmp_path / "manifests.yaml"
    names = []
    for override in ("seed=17", "seed=18"):
        recipe = load_recipe_for_elsewhere("demo", [override])
        compile_recipe(recipe, package)
        spec, platform = yaml.safe_load_all(package.read_text())
        name = compile_manifests(self_rewarding_pipeline(recipe), manifests, "research")
        pipeline, version = yaml.safe_load_all(manifests.read_text())
        assert {one["apiVersion"] for one in (pipeline, version)} == {"pipelines.kubeflow.org/v2beta1"}
        assert pipeline["metadata"] == {"name": "demo", "namespace": "research"}
        assert version["metadata"] == {"name": name, "namespace": "research"}
        assert version["spec"]["pipelineName"] == "demo"
        assert (version["spec"]["pipelineSpec"], version["spec"]["platformSpec"]) == (spec, platform)
        assert name == version_of([spec, platform])
        names.append(name)
    assert len(set(names)) == 2
    assert all(re.fullmatch(r"demo-[0-9a-f]{10}", name) for name in names)


def test_images_by_digest_become_the_defaults_of_a_package(tmp_path: Path) -> None:
    """What starts it in the UI then names no image, and gets exactly these."""
    worker = "ghcr.io/you/worker@sha256:" + "5a" * 32
    options = ["--evaluation", f"--worker-image={worker}", f"--output={tmp_path / 'demo.yaml'}"]
    assert CliRunner().invoke(app, ["compile", "demo", *options]).exit_code == 0
    made = next(yaml.safe_load_all((tmp_path / "demo.yaml").read_text()))
    defaults = made["root"]["inputDefinitions"]["parameters"]
    assert (defaults["worker_image"]["defaultValue"], defaults["trainer_image"]["defaultValue"]) == (worker, TRAINER)
