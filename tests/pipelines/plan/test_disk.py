"""Where each pod's models, checkpoints, caches and temporary files lie, and how large that is (issue 14)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from components.core.errors import UserError
from components.kubernetes.settings import PodSettings, number
from components.serving.kubernetes.launch import ServedModel
from components.serving.kubernetes.manifests import Server, pod_spec
from components.training.launch.request import TrainingRequest
from pipelines.compile import load_recipe_for_elsewhere
from pipelines.plan.disk import import_disk, importer_pods, run_disk, training_disk
from pipelines.recipe import Recipe
from tests.helpers.chart import containers
from tests.pipelines.cluster.test_pods import FinishedStage, specs, steps

GIB = 2**30
CLAIMS = {
    "cluster.scratch={}": {"ephemeral"},
    "cluster.scratch={storage_class: fast}": {"ephemeral"},
    "cluster.scratch={claim: shared}": {"persistentVolumeClaim"},
}
BIG = {"server vllm": "models", "Job job ": "work", "TrainJob": "scratch"}


@pytest.fixture(autouse=True)
def stage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TrainingRequest, "stage", lambda self: FinishedStage())


def volumes(spec: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {volume["name"]: volume for volume in spec["volumes"]}


def test_whatever_a_program_keeps_lies_in_a_volume_that_has_an_end() -> None:
    """With a read-only root there is nothing else; an emptyDir without a limit could fill the node."""
    for pod, spec in specs(load_recipe_for_elsewhere("demo")):
        limits = {name: one["emptyDir"].get("sizeLimit") for name, one in volumes(spec).items() if "emptyDir" in one}
        assert [name for name, limit in limits.items() if not limit and name != "shm"] == [], pod
        for one in containers(spec):
            values = {each["name"]: each.get("value", "") for each in one["env"]}
            mounted = [mount["mountPath"] for mount in one["volumeMounts"] if not mount.get("readOnly")]
            for name in ("HOME", "TMPDIR", "SRLM_HOME"):
                assert any(values[name].startswith(path) for path in mounted), (pod, one["name"], name)


@pytest.mark.parametrize(("setting", "kind"), CLAIMS.items())
def test_a_claim_takes_the_place_of_the_node_s_disk(setting: str, kind: set[str]) -> None:
    """Which then is asked for no more than a step takes; small pods have no claim."""
    recipe = load_recipe_for_elsewhere("demo", [setting])
    found = dict(specs(recipe))
    for pod, name in BIG.items():
        assert set(volumes(found[pod])[name]) == {"name", *kind}
        (working,) = found[pod]["containers"]
        assert working["resources"]["requests"]["ephemeral-storage"] == "1Gi"
        assert "work" not in volumes(found[pod]) or pod != "TrainJob"  # a runtime's own is merged with ours
    assert set(volumes(found["Job kubeflow "])["work"]) == {"name", "emptyDir"}
    by_step = {name: pod for name, _, pod in steps(recipe)}
    for step in ("exec-import-models", "exec-dpo", "exec-sft"):
        mounts = by_step[step].get("pvcMount", []) + by_step[step].get("genericEphemeralVolume", [])
        assert [mount["mountPath"] for mount in mounts] == ["/work"]
    assert "emptyDirMounts" not in by_step["exec-pair"]


def test_a_claim_has_one_way_to_be_had() -> None:
    with pytest.raises(UserError, match="name one of them"):
        load_recipe_for_elsewhere("demo", ["cluster.scratch={claim: shared, storage_class: fast}"])


def test_a_volume_of_ones_own_takes_the_place_of_the_scratch_volume() -> None:
    shape = "{spec: {volumes: [{name: mine, persistentVolumeClaim: {claimName: mine}}]}, "
    shape += "container: {volumeMounts: [{name: mine, mountPath: /work}]}}"
    recipe = load_recipe_for_elsewhere("demo", [f"cluster.pods={{trainer: {shape}}}"])
    pod = {name: pod for name, _, pod in steps(recipe)}["exec-dpo"]
    assert [mount["mountPath"] for mount in pod["pvcMount"]] == ["/work"] and "emptyDirMounts" not in pod


def test_a_server_s_disk_is_that_of_its_model() -> None:
    """16 GiB of files, a tenth more, and 4 GiB beside; what the recipe says goes before; a shared cache takes none."""
    recipe = load_recipe_for_elsewhere("demo")
    model = ServedModel("s3://b/m", "d1", "/models/m", size=16 * GIB)
    asked = {"settings": recipe.serving, "cluster": recipe.cluster, "worker_image": "w", "engine_image": ""}
    server = Server(run="run", name="m1", engine="vllm", model=model, **asked)  # type: ignore[arg-type]
    assert volumes(pod_spec(server))["models"]["emptyDir"] == {"sizeLimit": "22Gi"}
    said = server.settings.model_copy(update={"pod": PodSettings(disk="7Gi")})
    assert volumes(pod_spec(replace(server, settings=said)))["models"]["emptyDir"] == {"sizeLimit": "7Gi"}
    shared = replace(server, cluster=recipe.cluster.model_copy(update={"model_cache": "cache"}))
    spec = pod_spec(shared)
    assert volumes(spec)["models"] == {"name": "models", "persistentVolumeClaim": {"claimName": "cache"}}
    assert spec["containers"][0]["resources"]["requests"]["ephemeral-storage"] == "1Gi"


def test_disks_of_a_model_of_known_size() -> None:
    """N = 8.03e9 weights in fp32 are 32 GB. Imported: the source and the copy. Trained: the model, its checkpoint with
    Adam's moments, the new one. In one pod: what is imported, a source, SFT, M1, M2, M3 and a checkpoint."""
    recipe = load_recipe_for_elsewhere("llama3-8b")
    weights = 8_030_261_248
    assert import_disk(recipe) == 2 * 4 * weights
    assert training_disk(recipe) == (4 + 4 + 12) * weights
    assert run_disk(recipe) == (8 + 4 * 4 + 12) * weights
    two_nodes = load_recipe_for_elsewhere("llama3-8b", ["resources.nodes=2"])
    assert training_disk(two_nodes) == (4 + 4 + 6) * weights


def kubeflow(recipe: Recipe) -> dict[str, Any]:
    return {name: container["resources"].get("accelerator") for name, container, _ in steps(recipe)}


def test_kubeflow_is_told_of_the_disk_where_request_and_limit_are_one() -> None:
    """Its backend sets a limit by the name of an "accelerator", and Kubernetes takes it for the request."""
    recipe = load_recipe_for_elsewhere("llama3-8b")
    told = kubeflow(recipe)
    asked = int(number(importer_pods(recipe).amount("disk")))
    assert asked >= import_disk(recipe)
    assert told["exec-import-models"]["resourceType"] == "ephemeral-storage"
    assert told["exec-import-models"]["resourceCount"] == str(asked)
    assert told["exec-dpo"]["resourceType"] == "nvidia.com/gpu"
    assert not any(kubeflow(load_recipe_for_elsewhere("demo")).values())  # of unknown size: a guess would find no node
    said = kubeflow(load_recipe_for_elsewhere("demo", ["resources.disk=20Gi"]))
    assert said["exec-dpo"]["resourceCount"] == said["exec-import-models"]["resourceCount"] == str(20 * GIB)
