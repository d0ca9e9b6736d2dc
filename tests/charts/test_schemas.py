"""What the chart makes is what Kubernetes and Kubeflow Trainer take, field by field."""

from __future__ import annotations

import os
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.helpers.chart import Manifest, pick, render, rendered

Kubectl = Callable[..., "subprocess.CompletedProcess[str]"]
FOREIGN = {"monitoring.coreos.com", "pipelines.kubeflow.org", "trainer.kubeflow.org"}  # not Kubernetes' own


def group(manifest: Manifest) -> str:
    return str(manifest["apiVersion"].split("/")[0])


@pytest.mark.parametrize("version", ["1.33", "1.36"])
def test_all_is_valid_for_kubernetes(values: Path, version: str) -> None:
    """Custom resources are left out by their group; an unknown kind of any other group fails."""
    validate = pytest.importorskip("kubernetes_validate").validate
    for manifest in rendered(values):
        if group(manifest) not in FOREIGN:
            assert validate(manifest, version, strict=True) == version


def test_a_field_that_kubernetes_does_not_know_is_seen() -> None:
    module = pytest.importorskip("kubernetes_validate")
    manifest = pick(render(), "ConfigMap", "srlm")
    with pytest.raises(module.ValidationError):
        module.validate({**manifest, "dta": {}}, "1.36", strict=True)


@pytest.mark.parametrize("scope", ["Namespace", "Cluster"])
def test_the_training_runtime_loads_in_the_published_models(scope: str) -> None:
    """Strictly: what the models write back is what went in, so no field was unknown to them and dropped."""
    models = pytest.importorskip("kubeflow_trainer_api.models")
    kind = {"Namespace": "TrainingRuntime", "Cluster": "ClusterTrainingRuntime"}[scope]
    arguments = ("--set=training.enabled=true", f"--set=training.scope={scope}")
    runtime = pick(render(*arguments), kind, "srlm-torch")
    loaded = getattr(models, f"TrainerV1alpha1{kind}").from_dict(runtime)
    assert loaded.to_dict() == runtime
    assert loaded.metadata.labels["trainer.kubeflow.org/framework"] == "torch"  # TrainerClient asks for it


@pytest.fixture(scope="module")
def namespace() -> Iterator[Kubectl]:
    """kubectl in a namespace of its own that admits "restricted" pods alone and warns of others."""
    named = os.environ.get("SRLM_TEST_KUBECONFIG") or os.environ.get("KUBECONFIG")
    if not named or not Path(named).is_file():
        pytest.skip("needs a cluster: neither SRLM_TEST_KUBECONFIG nor KUBECONFIG names a file")
    name = f"chart-{uuid.uuid4().hex[:8]}"
    environment = os.environ | {"KUBECONFIG": named}

    def kubectl(*arguments: str, **more: Any) -> subprocess.CompletedProcess[str]:
        command = ["kubectl", f"--namespace={name}", *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, **more)

    kubectl("create", "namespace", name, check=True)
    try:
        enforce = [f"pod-security.kubernetes.io/{mode}=restricted" for mode in ("enforce", "warn")]
        kubectl("label", "namespace", name, *enforce, check=True)
        kubectl("create", "serviceaccount", "srlm", check=True)  # a pod is refused where its identity is missing
        yield kubectl
    finally:
        kubectl("delete", "namespace", name, "--wait=false")


@pytest.mark.cluster
@pytest.mark.slow
def test_a_real_api_server_takes_it(values: Path, namespace: Kubectl) -> None:
    """Custom resources whose definitions the cluster lacks are left out by name."""
    known = namespace("api-versions", check=True).stdout.split()
    manifests = [_anywhere(one) for one in rendered(values) if one["apiVersion"] in known]
    left = [one for one in rendered(values) if one["apiVersion"] not in known]
    assert all(group(one) in FOREIGN for one in left)
    print("left out:", [f"{one['kind']}/{one['metadata']['name']}" for one in left])
    done = namespace("apply", "--dry-run=server", "--filename=-", input=yaml.safe_dump_all(manifests))
    assert done.returncode == 0, done.stderr
    assert "would violate PodSecurity" not in done.stderr
    assert done.stdout.count("(server dry run)") == len(manifests)


def _anywhere(manifest: Manifest) -> Manifest:
    """Without the namespace that it was rendered for."""
    metadata = {key: value for key, value in manifest["metadata"].items() if key != "namespace"}
    return {**manifest, "metadata": metadata}
