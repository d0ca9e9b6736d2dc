"""`cluster.pods`: what each kind of pod has beside what a run gives it, whoever writes its spec (issue 14)."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from components.core.errors import UserError
from components.kubernetes.shape import CONTAINER, OF_NODES, OF_STEPS, SPEC, merged
from components.serving.kubernetes.launch import ServedModel
from components.serving.kubernetes.manifests import Server, deployment
from components.training.launch.request import TrainingRequest
from components.training.launch.trainjob import TrainJob
from components.training.launch.trainjob import manifest as train_job
from pipelines.cluster.image_pull import _pod as probe
from pipelines.cluster.manifests import JobRequest, manifests
from pipelines.compile import load_recipe_for_elsewhere, package
from pipelines.graph.self_rewarding import self_rewarding_pipeline
from pipelines.recipe import Recipe

VALUES: dict[str, Any] = {
    "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}},
    "imagePullSecrets": [{"name": "registry"}],
    "nodeSelector": {"pool": "models"},
    "securityContext": {"runAsUser": 1001, "runAsGroup": 0},
    "tolerations": [{"key": "gpu", "operator": "Exists", "tolerationSeconds": 5}],
    "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}],
    "priorityClassName": "batch",
    "runtimeClassName": "nvidia",
    "schedulerName": "volcano",
    "resourceClaims": [{"name": "gpu", "resourceClaimTemplateName": "gpu"}],
    "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}],
}
EVERYWHERE = {name: value for name, value in VALUES.items() if name in OF_STEPS & OF_NODES}
MOUNT = [{"name": "data", "mountPath": "/data"}]


@pytest.fixture(autouse=True)
def stage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TrainingRequest, "stage", lambda self: type("Finished", (), {"key": "0123456789abcdef"})())


def shaped(*overrides: str, **kinds: dict[str, Any]) -> Recipe:
    return load_recipe_for_elsewhere("demo", [f"cluster.pods={json.dumps(kinds)}", *overrides])


def named_alike(template: dict[str, Any]) -> dict[str, Any]:
    """Without the hash of the recipe, which is part of its config map's name."""
    return dict(json.loads(re.sub("a-run-[0-9a-f]{8}", "a-run", json.dumps(template))))


def server(recipe: Recipe) -> dict[str, Any]:
    served = {
        "model": ServedModel("s3://b/m", "d1", "/models/m"),
        "settings": recipe.serving,
        "cluster": recipe.cluster,
    }
    images = {"worker_image": "w", "engine_image": ""}
    made = deployment(Server(run="run", name="m1", engine="vllm", **served, **images))  # type: ignore[arg-type]
    return dict(made["spec"]["template"])


def job(recipe: Recipe) -> dict[str, Any]:
    _, made = yaml.safe_load_all(manifests(recipe, JobRequest("a-run", "job")))
    return named_alike(made["spec"]["template"])


def submission(recipe: Recipe) -> dict[str, Any]:
    _, made = yaml.safe_load_all(manifests(recipe, JobRequest("a-run")))
    return named_alike(made["spec"]["template"])


def probed(recipe: Recipe) -> dict[str, Any]:
    return probe("probe", "image", recipe.cluster)


def trainer(recipe: Recipe) -> dict[str, Any]:
    work = TrainingRequest(kind="dpo", root="s3://bucket/runs", settings={}, inputs={}, processes=2)
    made = train_job(TrainJob(work, recipe.resources, recipe.cluster, "trainer:1", "run", "m2"), "TrainingRuntime")
    (node,) = made["spec"]["runtimePatches"][0]["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
    template = dict(node["template"]["spec"]["template"])
    template["spec"]["containers"][0]["env"] = made["spec"]["trainer"]["env"]
    return template


@pytest.mark.parametrize(
    ("kind", "pod", "fields"),
    [
        ("server", server, SPEC),
        ("job", job, SPEC),
        ("job", submission, SPEC),
        ("job", probed, SPEC),
        ("trainer", trainer, OF_NODES),
    ],
)
def test_every_field_reaches_the_pod_beside_its_own(
    kind: str, pod: Callable[[Recipe], dict[str, Any]], fields: Any
) -> None:
    """And no other kind's."""
    spec = {name: value for name, value in VALUES.items() if name in fields}
    shape = {
        "labels": {"sidecar.istio.io/inject": "true", "team": "a"},
        "annotations": {"note": "x"},
        "spec": spec,
        "container": {"volumeMounts": MOUNT, "env": [{"name": "LEVEL", "value": "1"}]},
    }
    nodes = ["resources.nodes=2"] if kind == "trainer" else []
    before, after = pod(shaped(*nodes)), pod(shaped(*nodes, **{kind: shape}))
    assert after["metadata"]["labels"] == before["metadata"]["labels"] | shape["labels"]
    assert after["metadata"]["annotations"]["note"] == "x"
    for name, own in spec.items():
        value, had = own, before["spec"].get(name)
        if isinstance(value, dict):
            value = {**(had or {}), **value}
        elif isinstance(value, list):
            value = [*(had or []), *value]
        assert after["spec"][name] == value, name
    (working,), (plain,) = after["spec"]["containers"], before["spec"]["containers"]
    assert working["volumeMounts"] == [*plain.get("volumeMounts", []), *MOUNT]
    assert working["env"] == [*plain.get("env", []), {"name": "LEVEL", "value": "1"}]
    assert after["spec"].get("initContainers") == before["spec"].get("initContainers")
    other = "server" if kind != "server" else "job"
    assert pod(shaped(*nodes, **{other: shape})) == before


def test_a_user_that_the_cluster_gives() -> None:
    """OpenShift's restricted-v2 refuses a user that is not of the namespace's range: null leaves it to the cluster."""
    nobody = {"spec": {"securityContext": {"runAsUser": None, "runAsGroup": None, "fsGroup": None}}}
    for pod in (server, job):
        context = pod(shaped(server=nobody, job=nobody))["spec"]["securityContext"]
        assert context == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    of_step = executors(shaped(server=nobody, job=nobody, trainer=nobody))[1]["exec-dpo"]
    assert of_step["securityContext"] == {"runAsNonRoot": True}
    assert "runAsUser" not in trainer(shaped("resources.nodes=2", trainer=nobody))["spec"]["securityContext"]


def test_a_volume_of_ones_own_takes_the_place_of_ours() -> None:
    """A scratch claim for a server's weights; its mounts stay."""
    claim = {"spec": {"volumes": [{"name": "models", "persistentVolumeClaim": {"claimName": "scratch"}}]}}
    before, after = server(shaped())["spec"], server(shaped(server=claim))["spec"]
    assert [one for one in after["volumes"] if one["name"] == "models"] == claim["spec"]["volumes"]
    assert len(after["volumes"]) == len(before["volumes"])
    assert after["containers"] == before["containers"]


def test_a_devices_claim_is_the_server_s_alone() -> None:
    claims = {"resources": {"claims": [{"name": "gpu"}]}}
    spec = server(shaped(server={"spec": {"resourceClaims": VALUES["resourceClaims"]}, "container": claims}))["spec"]
    assert spec["containers"][0]["resources"]["claims"] == [{"name": "gpu"}]
    assert set(spec["containers"][0]["resources"]) == {"claims", "requests", "limits"}
    assert "claims" not in spec["initContainers"][0]["resources"]


def executors(recipe: Recipe) -> tuple[dict[str, Any], dict[str, Any]]:
    spec, platform = package(self_rewarding_pipeline(recipe))
    return spec["deploymentSpec"]["executors"], platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]


@pytest.mark.parametrize(("kind", "step"), [("step", "pair"), ("importer", "import-models"), ("trainer", "dpo")])
def test_a_step_gets_what_kubeflow_can_give_it(kind: str, step: str) -> None:
    shape = {
        "labels": {"team": "a"},
        "annotations": {"note": "x"},
        "spec": EVERYWHERE | {"imagePullSecrets": [{"name": "registry"}]},
        "container": {"volumeMounts": MOUNT, "env": [{"name": "LEVEL", "value": "1"}]},
    }
    containers, pods = executors(shaped(**{kind: shape}))
    made = {name.removeprefix("exec-"): pod for name, pod in pods.items() if pod.get("podMetadata", {}).get("labels")}
    pod = made[step]
    assert pod["podMetadata"]["labels"] == {"team": "a"} and pod["podMetadata"]["annotations"]["note"] == "x"
    assert pod["nodeSelector"]["labels"] == {"pool": "models"}
    assert pod["pvcMount"][0]["mountPath"] == "/data"
    assert pod["securityContext"] == {"runAsUser": "1001", "runAsGroup": "0", "runAsNonRoot": True}
    assert pod["tolerations"] == [{"key": "gpu", "operator": "Exists", "tolerationSeconds": "5"}]
    assert "nodeAffinityJson" in pod["nodeAffinity"][0]
    assert {"name": "LEVEL", "value": "1"} in containers[f"exec-{step}"]["container"]["env"]
    others = {"step": "pair", "importer": "import-models", "trainer": "dpo"}
    assert not {name for other, name in others.items() if other != kind} & set(made)


@pytest.mark.parametrize("kind", ["step", "importer", "trainer"])
@pytest.mark.parametrize("name", sorted(set(VALUES) - OF_STEPS))
def test_what_a_step_cannot_have_is_refused_when_the_recipe_is_read(kind: str, name: str) -> None:
    with pytest.raises(UserError, match=rf"pods.{kind}: spec.{name}: Kubeflow Pipelines takes none of it"):
        shaped(**{kind: {"spec": {name: VALUES[name]}}})


@pytest.mark.parametrize("name", sorted(set(VALUES) - OF_NODES))
def test_what_a_node_cannot_have_is_refused_when_the_recipe_is_read(name: str) -> None:
    with pytest.raises(UserError, match=rf"pods.trainer: spec.{name}: a TrainJob cannot have it"):
        shaped("resources.nodes=2", trainer={"spec": {name: VALUES[name]}})


@pytest.mark.parametrize(
    ("shape", "told"),
    [
        ({"spec": {"containers": []}}, "spec.containers cannot be set"),
        ({"spec": {"priorityclassName": "x"}}, "spec.priorityclassName cannot be set"),
        ({"spec": {"nodeSelector": ["x"]}}, "not of the form"),
        ({"spec": {"tolerations": None}}, "not of the form"),
        ({"spec": {"volumes": [{"emptyDir": {}}]}}, "has no name"),
        ({"container": {"image": "x"}}, "container.image cannot be set"),
        ({"container": {"resources": {"limits": {"cpu": "1"}}}}, "amounts are said in"),
        ({"container": {"env": [{"name": "HOME", "value": "/"}]}}, "HOME is set by the run"),
        ({"labels": {"self-rewarding-pipelines/run": "x"}}, "is the run's own"),
    ],
)
def test_what_is_no_shape_is_named(shape: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError, match=told):
        shaped(server=shape)


JSON = st.recursive(
    st.none() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
)


@given(JSON, JSON)
def test_a_patch_that_is_applied_twice_is_applied_once(value: Any, patch: Any) -> None:
    """As long as what it adds to a list has names; and an empty one changes nothing."""
    assert merged({"a": value} if value is not None else {}, {}) == ({"a": value} if value is not None else {})
    if not isinstance(patch, list) and "[" not in json.dumps(patch):
        assert merged(merged(value, patch), patch) == merged(value, patch)


def test_the_names_are_kubernetes_own() -> None:
    from kubernetes.client import V1Container, V1PodSpec

    assert set(SPEC) <= set(V1PodSpec.attribute_map.values())
    assert set(CONTAINER) <= set(V1Container.attribute_map.values())
