"""A deployed model's objects: valid for Kubernetes and KServe field by field, rolled without a gap, least rights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from components.kubernetes.settings import ClusterSettings
from components.serving.kubernetes.deployed import (
    DeployedModel,
    manifests,
    model_of,
    model_patch,
    named_model,
)
from components.serving.settings import ServingSettings
from tests.helpers.chart import Manifest, pick, pod_specs
from tests.helpers.restricted import faults

URI = "s3://bucket/runs/dpo/0123456789abcdef"
LOGIN = {"secrets": {"mlflow": ["MLFLOW_TRACKING_USERNAME"]}}


def deployed(cluster: dict[str, Any] | None = None, **fields: Any) -> DeployedModel:
    serving = ServingSettings.model_validate({"replicas": 2, "start_timeout": 900, "pod": {"gpus": 1}})
    named = {"name": "demo", "uri": URI, "digest": "d1", "engine": "vllm", "namespace": "prod"}
    images = {"worker_image": "worker:1", "engine_image": "vllm:1"}
    asked = {"settings": serving, "cluster": ClusterSettings.model_validate(cluster or {})}
    return DeployedModel(**{**named, **images, **asked, "follows": "models:/demo@champion", **fields})


def predictor(model: DeployedModel) -> Manifest:
    spec: Manifest = pick(manifests(model), "InferenceService", "model-demo")["spec"]["predictor"]
    return spec


@pytest.mark.parametrize("version", ["1.33", "1.36"])
@pytest.mark.parametrize("engine", ["vllm", "tgi", "transformers"])
def test_all_is_valid_for_kubernetes(engine: str, version: str) -> None:
    validate = pytest.importorskip("kubernetes_validate").validate
    for manifest in manifests(deployed({"queue": "team"}, engine=engine)):
        assert validate(manifest, version, strict=True) == version


@pytest.mark.parametrize("canary", [None, 10])
def test_the_inference_service_is_valid_for_kserve(canary: int | None) -> None:
    """Strictly: a field of the predictor is one of KServe's, or one of the pod's that Kubernetes knows."""
    check_predictor(predictor(deployed(kserve=True, canary=canary)))


def test_a_field_that_kserve_does_not_know_is_seen() -> None:
    with pytest.raises(Exception, match="canaryTraffic"):
        check_predictor({**predictor(deployed(kserve=True)), "canaryTraffic": 10})


def check_predictor(spec: Manifest) -> None:
    validate = pytest.importorskip("kubernetes_validate").validate
    own = json.loads((Path(__file__).parent / "inference_service.json").read_text())
    own.pop("source")
    jsonschema.validate(
        {name: value for name, value in spec.items() if name in own},
        {"type": "object", "properties": own, "additionalProperties": False},
    )
    pod = {name: value for name, value in spec.items() if name not in own}
    validate({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "m"}, "spec": pod}, "1.36", strict=True)


def test_every_pod_is_admitted_by_pod_security_restricted() -> None:
    found = {name: faults(spec) for name, spec in pod_specs(manifests(deployed()))}
    assert found.keys() == {"Deployment/model-demo", "Deployment/follow-demo"} and not any(found.values()), found
    assert not faults(predictor(deployed(kserve=True)))


def test_no_pod_goes_before_another_is_ready_and_what_it_has_begun_is_answered() -> None:
    spec = pick(manifests(deployed()), "Deployment", "model-demo")["spec"]
    assert spec["replicas"] == 2
    assert spec["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    pod = spec["template"]["spec"]
    assert pod["containers"][0]["readinessProbe"]
    drained = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert 0 < drained < pod["terminationGracePeriodSeconds"] - 30


def test_which_model_it_is_stands_in_annotations_alone() -> None:
    """So that a patch of these moves it: arguments and commands refer to variables that are read from them."""
    made = pick(manifests(deployed()), "Deployment", "model-demo")
    assert model_of(made) == (URI, "d1")
    template = made["spec"]["template"]
    assert URI not in str(template["spec"]) and "d1" not in str(template["spec"]).replace("image", "")
    weights, server = template["spec"]["initContainers"][0], template["spec"]["containers"][0]
    assert weights["command"][-3:] == ["$(SRLM_MODEL_URI)", "$(SRLM_MODEL_DIGEST)", "/tmp/model"]
    assert {"--model=/tmp/model", "$(SRLM_MODEL_DIGEST)"} <= set(server["args"])
    paths = {one["name"]: one.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath") for one in server["env"]}
    assert paths["SRLM_MODEL_DIGEST"] == "metadata.annotations['self-rewarding-pipelines/model-digest']"


@pytest.mark.parametrize("kserve", [False, True])
def test_a_patch_moves_it_and_changes_nothing_else(kserve: bool) -> None:
    kind = "InferenceService" if kserve else "Deployment"
    made = pick(manifests(deployed(kserve=kserve, canary=10 if kserve else None)), kind, "model-demo")
    moved = merged(made, model_patch(kserve, "s3://bucket/other", "d2"))
    assert model_of(moved) == ("s3://bucket/other", "d2")
    assert merged(moved, model_patch(kserve, URI, "d1")) == made


def merged(target: Any, patch: Any) -> Any:
    """RFC 7396, without removals."""
    if not isinstance(patch, dict):
        return patch
    return {**target, **{name: merged(target.get(name, {}), value) for name, value in patch.items()}}


@pytest.mark.parametrize(
    ("kserve", "group", "resource"),
    [(False, "apps", "deployments"), (True, "serving.kserve.io", "inferenceservices")],
)
def test_the_follower_may_change_one_object_and_has_no_key_of_the_store(
    kserve: bool, group: str, resource: str
) -> None:
    made = manifests(deployed({"environment": LOGIN}, kserve=kserve))
    [rule] = pick(made, "Role", "follow-demo")["rules"]
    assert rule == {"apiGroups": [group], "resources": [resource], "verbs": ["get", "patch"]} | {
        "resourceNames": ["model-demo"]
    }
    binding = pick(made, "RoleBinding", "follow-demo")
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "follow-demo", "namespace": "prod"}]
    spec = pick(made, "Deployment", "follow-demo")["spec"]["template"]["spec"]
    assert spec["serviceAccountName"] == "follow-demo"
    [container] = spec["containers"]
    assert container["envFrom"] == [{"configMapRef": {"name": "srlm"}}]
    sources = {one["name"]: one["valueFrom"]["secretKeyRef"]["name"] for one in container["env"] if "valueFrom" in one}
    login = {"MLFLOW_TRACKING_PASSWORD": "srlm", "MLFLOW_TRACKING_TOKEN": "srlm"}
    assert sources == {"MLFLOW_TRACKING_USERNAME": "mlflow"} | login
    flag = ["--kserve"] if kserve else []
    assert container["command"] == ["srlm", "deploy", "models:/demo@champion", "--follow", *flag]


def test_a_version_does_not_move_so_nothing_follows_it() -> None:
    kinds = [one["kind"] for one in manifests(deployed(follows="", namespace=""))]
    assert kinds == ["Service", "Deployment"]


def test_shares_of_traffic_are_knative_s() -> None:
    made = pick(manifests(deployed(kserve=True, canary=10)), "InferenceService", "model-demo")
    assert made["metadata"]["annotations"] == {"serving.kserve.io/deploymentMode": "Serverless"}
    spec = made["spec"]["predictor"]
    assert spec["canaryTrafficPercent"] == 10
    assert spec["annotations"] == named_model(URI, "d1") | {"serving.knative.dev/progress-deadline": "900s"}
    assert not {"terminationGracePeriodSeconds", "deploymentStrategy"} & spec.keys()
    assert all("name" not in port for port in spec["containers"][0]["ports"])


def test_without_shares_it_is_a_deployment_of_kserve_s() -> None:
    made = pick(manifests(deployed({"queue": "team"}, kserve=True)), "InferenceService", "model-demo")
    assert made["metadata"]["annotations"] == {"serving.kserve.io/deploymentMode": "RawDeployment"}
    assert made["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "team"
    spec = made["spec"]["predictor"]
    assert (spec["minReplicas"], spec["maxReplicas"]) == (2, 2)
    assert spec["deploymentStrategy"]["rollingUpdate"]["maxUnavailable"] == 0
    assert "canaryTrafficPercent" not in spec


def test_the_recipe_s_grace_takes_the_place_of_ours() -> None:
    """It shapes what is made; the time that a pod is left to answer stays."""
    shape = {"pods": {"server": {"spec": {"terminationGracePeriodSeconds": 600}}}}
    for pod in (
        pick(manifests(deployed(shape)), "Deployment", "model-demo")["spec"]["template"]["spec"],
        predictor(deployed(shape, kserve=True)),
    ):
        assert pod["terminationGracePeriodSeconds"] == 600
        assert "preStop" in pod["containers"][0]["lifecycle"]
