"""srlm doctor on a real cluster: permissions, the chart's objects, images."""

from __future__ import annotations

import os
import subprocess

import pytest

from components.kubernetes.client import Cluster
from pipelines.cluster.doctor import Doctor
from pipelines.cluster.permissions import PERSON, RUN, TRAINING, missing_of, own_missing
from pipelines.local.doctor import Finding
from pipelines.recipe import load_recipe
from tests.cluster.conftest import IMAGE


@pytest.mark.cluster
def test_an_administrator_may_all_and_a_bare_account_nothing(cluster: Cluster) -> None:
    assert own_missing(cluster, PERSON) == [] and own_missing(cluster, RUN) == []
    assert len(missing_of(cluster, "default", RUN)) == len(RUN)


@pytest.mark.cluster
def test_a_role_of_exactly_the_list_is_enough(cluster: Cluster) -> None:
    from kubernetes.client import RbacAuthorizationV1Api

    rules = [{"apiGroups": [one.group], "resources": [one.resource], "verbs": list(one.verbs)} for one in RUN]
    subject = {"kind": "ServiceAccount", "name": "default", "namespace": cluster.namespace}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "srlm"}
    rbac = RbacAuthorizationV1Api(cluster.api)
    rbac.create_namespaced_role(cluster.namespace, {"metadata": {"name": "srlm"}, "rules": rules})
    binding = {"metadata": {"name": "srlm"}, "roleRef": role, "subjects": [subject]}
    rbac.create_namespaced_role_binding(cluster.namespace, binding)
    assert missing_of(cluster, "default", RUN) == []
    assert len(missing_of(cluster, "default", TRAINING)) == 2
    assert missing_of(cluster, "default", PERSON) != []


@pytest.mark.cluster
def test_the_chart_that_is_missing_is_what_a_bare_namespace_lacks(cluster: Cluster) -> None:
    found = list(Doctor(cluster.namespace).examine(["cluster"]))
    assert [one.state for _, one in found] == ["ok", "broken", "broken", "unknown"]
    cluster.core.create_namespaced_service_account(cluster.namespace, {"metadata": {"name": "srlm"}})
    cluster.core.create_namespaced_config_map(cluster.namespace, {"metadata": {"name": "srlm"}})
    assert [one.state for _, one in Doctor(cluster.namespace).examine(["cluster"])] == ["ok", "ok", "ok", "unknown"]


@pytest.mark.cluster
def test_an_image_is_pulled_or_not(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SRLM_WORKER_IMAGE", IMAGE)
    monkeypatch.setenv("SRLM_TRAINER_IMAGE", "localhost/nosuch:1")
    monkeypatch.setenv("SRLM_TRANSFORMERS_IMAGE", "Localhost/NONE:1")
    found = [one for _, one in Doctor(cluster.namespace, pull=True).examine(["images"])]
    assert [one.state for one in found] == ["ok", "broken", "broken"]
    assert "localhost/nosuch:1" in found[1].text and "lowercase" in found[2].text
    left = cluster.core.list_namespaced_pod(cluster.namespace).items
    assert all(one.metadata.deletion_timestamp for one in left)


@pytest.mark.cluster
def test_the_commands_make_what_a_recipe_names(cluster: Cluster) -> None:
    """Each remedy that is a command is typed; after that doctor finds nothing of it missing."""
    asked = "config_maps: {proxy: [HTTPS_PROXY]}, secrets: {mlflow: [MLFLOW_TRACKING_USERNAME]}, "
    asked += "ca_bundle: {config_map: authorities}"
    overrides = [f"cluster.environment={{{asked}}}", "cluster.image_pull_secrets=[registry]"]
    settings = load_recipe("demo", overrides).cluster
    cluster.core.create_namespaced_config_map(cluster.namespace, {"metadata": {"name": "proxy"}})

    def lacking() -> list[Finding]:
        doctor = Doctor(cluster.namespace, settings=settings)
        return [one for _, one in doctor.examine(["cluster"]) if one.state == "broken" and "kubectl" in one.remedy]

    missing = lacking()
    assert len(missing) == 4
    for one in missing:
        command = one.remedy.replace("ca.crt=ca.crt", f"ca.crt={os.devnull}")
        subprocess.run(["bash", "-c", command], check=True, capture_output=True)
    assert not lacking()
