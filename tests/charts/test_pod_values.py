"""Every pod of the chart can be shaped by values, as a run's pods are by `cluster.pods` (issue 14)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.helpers.chart import CHART, containers, pod_specs, refusal, render

EVERYTHING = f"--values={CHART / 'ci' / 'everything-values.yaml'}"
PARTS = ("mlflow", "seaweedfs", "judge", "training", "regression", "reaper", "tests")
SHAPE: dict[str, Any] = {
    "labels": {"example.com/team": "a"},
    "annotations": {"example.com/cost-centre": "42"},
    "spec": {
        "priorityClassName": "batch",
        "schedulerName": "volcano",
        "affinity": {"podAntiAffinity": {}},
        "volumes": [{"name": "data2", "persistentVolumeClaim": {"claimName": "data2"}}],
    },
    "container": {
        "env": [{"name": "LEVEL", "value": "1"}],
        "volumeMounts": [{"name": "data2", "mountPath": "/data2"}],
    },
}
ENVIRONMENT: dict[str, Any] = {
    "env": [{"name": "HTTPS_PROXY", "value": "http://proxy:3128"}],
    "envFrom": [{"secretRef": {"name": "mlflow"}}],
    "caBundle": {"configMap": "authorities", "file": "all.pem"},
}


def shaped(tmp_path: Path, values: dict[str, Any], *arguments: str) -> list[dict[str, Any]]:
    path = tmp_path / "values.yaml"
    path.write_text(yaml.safe_dump(values))
    return render(EVERYTHING, f"--values={path}", *arguments)


def templates(node: Any) -> list[dict[str, Any]]:
    """Every object that holds a pod's spec, with the labels and annotations beside it."""
    if isinstance(node, list):
        return [found for one in node for found in templates(one)]
    if not isinstance(node, dict):
        return []
    own = [node] if isinstance(node.get("spec"), dict) and "containers" in node["spec"] else []
    return own + [found for value in node.values() for found in templates(value)]


def test_each_pod_takes_the_same(tmp_path: Path) -> None:
    before = templates(render(EVERYTHING))
    after = templates(shaped(tmp_path, {part: {"pod": SHAPE} for part in PARTS}))
    assert len(before) == len(after) == len(PARTS)
    for plain, made in zip(before, after, strict=True):
        assert made["metadata"]["labels"] == plain["metadata"]["labels"] | SHAPE["labels"]
        assert made["metadata"]["annotations"].items() >= SHAPE["annotations"].items()
        wanted = {name: value for name, value in SHAPE["spec"].items() if name != "volumes"}
        assert {name: made["spec"][name] for name in wanted} == wanted
        (container,), (own,) = made["spec"]["containers"], plain["spec"]["containers"]
        assert {one["name"] for one in made["spec"]["volumes"]} == {one["name"] for one in plain["spec"]["volumes"]} | {
            "data2"
        }
        for field in ("env", "volumeMounts"):
            had, has = own[field], container[field]
            assert all(one in has for one in had + SHAPE["container"][field]) and len(has) == len(had) + 1


def test_istio_puts_a_proxy_beside_those_pods_that_values_name(tmp_path: Path) -> None:
    """Beside none by default: runs have none either, and a Job does not end beside one."""
    name = "sidecar.istio.io/inject"
    assert {one["metadata"]["labels"][name] for one in templates(render(EVERYTHING))} == {"false"}
    judge = shaped(tmp_path, {"judge": {"pod": {"labels": {name: "true"}}}})
    told = [one["metadata"]["labels"][name] for one in templates(judge)]
    assert sorted(told) == ["false"] * (len(PARTS) - 1) + ["true"]
    unsaid = templates(shaped(tmp_path, {"podLabels": {name: None}}))
    assert not [one for one in unsaid if name in one["metadata"]["labels"]]


def test_one_pod_is_shaped_alone(tmp_path: Path) -> None:
    made = shaped(tmp_path, {"mlflow": {"pod": SHAPE}})
    assert [name for name, spec in pod_specs(made) if spec.get("priorityClassName")] != []
    assert sum("priorityClassName" in spec for _, spec in pod_specs(made)) == 1


def test_the_environment_reaches_every_container(tmp_path: Path) -> None:
    """The model's own server, the judge, gets no secret of it, as in a run."""
    for name, spec in pod_specs(shaped(tmp_path, {"environment": ENVIRONMENT})):
        assert {"name": "authorities", "configMap": {"name": "authorities"}} in spec["volumes"], name
        for one in containers(spec):
            values = {each["name"]: each.get("value") for each in one["env"]}
            assert values["HTTPS_PROXY"] == "http://proxy:3128"
            assert values["SSL_CERT_FILE"] == "/etc/srlm/authorities/all.pem"
            assert {"name": "authorities", "mountPath": "/etc/srlm/authorities", "readOnly": True} in one[
                "volumeMounts"
            ]
            assert ({"secretRef": {"name": "mlflow"}} in one.get("envFrom", [])) == ("envFrom" in one)


def test_the_cluster_may_choose_the_user() -> None:
    """As OpenShift's restricted-v2 does; a number of its range stays a number."""
    nobody = [f"--set=podSecurityContext.{name}=null" for name in ("runAsUser", "runAsGroup", "fsGroup")]
    for _, spec in pod_specs(render(EVERYTHING, *nobody)):
        assert spec["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    given = render(EVERYTHING, "--set=podSecurityContext.runAsUser=1000650000")
    assert {spec["securityContext"]["runAsUser"] for _, spec in pod_specs(given)} == {1000650000}


@pytest.mark.parametrize("name", ["containers", "nodeSelector", "hostNetwork", "priorityclassName"])
def test_what_is_no_field_for_values_is_refused(name: str) -> None:
    assert name in refusal(f"--set=mlflow.pod.spec.{name}=x")
