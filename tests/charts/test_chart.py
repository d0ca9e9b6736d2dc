"""The chart's promises, on every set of values in ci/."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.core import images
from components.training.launch.torchrun import MISTAKE
from pipelines.cluster.permissions import REAPER, RUN, TRAINING, Permission
from tests.helpers.chart import (
    CHART,
    PRELOADED,
    VALUES,
    containers,
    helm,
    pick,
    pod_specs,
    refusal,
    render,
    rendered,
)
from tests.helpers.restricted import faults

EVERYTHING = CHART / "ci" / "everything-values.yaml"
PACKAGE = "root: {dag: {tasks: {}}}\nschemaVersion: 2.1.0\n---\nplatforms: {kubernetes: {}}\n"


def test_lint(values: Path) -> None:
    done = helm("lint", "--strict", str(CHART), PRELOADED, f"--values={values}")
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_pod_is_admitted_by_pod_security_restricted(values: Path) -> None:
    found = {name: faults(spec) for name, spec in pod_specs(rendered(values))}
    assert found and not any(found.values()), found


@pytest.mark.parametrize("change", ["hostNetwork", "runAsNonRoot", "capabilities", "readOnlyRootFilesystem"])
def test_the_check_of_pods_sees_each_kind_of_fault(change: str) -> None:
    _, spec = next(pod_specs(rendered(EVERYTHING)))
    broken = copy.deepcopy(spec)
    broken["hostNetwork"] = change == "hostNetwork"
    broken["securityContext"].pop(change, None)
    broken["containers"][0]["securityContext"].pop(change, None)
    assert len(faults(broken)) == 1


def test_one_value_moves_every_image_to_a_registry(values: Path) -> None:
    manifests = render(f"--values={values}", "--set=images.registry=registry.test/mirror")
    named = [one["image"] for _, spec in pod_specs(manifests) for one in containers(spec)]
    named += [value for key, value in pick(manifests, "ConfigMap", "srlm")["data"].items() if key.endswith("_IMAGE")]
    assert named and all(one.startswith("registry.test/mirror/") for one in named), named


def test_without_a_registry_the_images_are_those_that_the_code_names() -> None:
    manifests = rendered(EVERYTHING)
    used = {one["image"] for _, spec in pod_specs(manifests) for one in containers(spec)}
    assert {images.WORKER, images.TRAINER, images.SERVICES} <= used
    data = pick(manifests, "ConfigMap", "srlm")["data"]
    engines = {"TRANSFORMERS": images.ENGINE, "TGI": images.TGI, "VLLM": images.VLLM}
    found = {engine: data[f"SRLM_{engine}_IMAGE"].removeprefix("docker.io/") for engine in engines}
    assert found == engines


def test_the_role_names_what_it_allows() -> None:
    """No wildcard, nothing of secrets; TrainJobs only where there is a runtime for them."""
    for training in ("true", "false"):
        manifests = render(f"--set=training.enabled={training}")
        rules = pick(manifests, "Role", "srlm")["rules"]
        assert not any("*" in word for rule in rules for words in rule.values() for word in words)
        resources = {resource for rule in rules for resource in rule["resources"]}
        assert "secrets" not in resources
        assert ("trainjobs" in resources) == (training == "true")
        assert not any(one["kind"].startswith("ClusterRole") for one in manifests)


@pytest.mark.parametrize(("training", "wanted"), [("false", RUN), ("true", RUN + TRAINING)])
def test_the_role_allows_what_a_run_needs_and_nothing_else(training: str, wanted: tuple[Permission, ...]) -> None:
    rules = pick(render(f"--set=training.enabled={training}"), "Role", "srlm")["rules"]
    allowed = {
        (group, what): set(rule["verbs"]) for rule in rules for group in rule["apiGroups"] for what in rule["resources"]
    }
    assert allowed == {(one.group, one.resource): set(one.verbs) for one in wanted}


def test_checksums_are_left_out_for_every_step_and_for_mlflow() -> None:
    """By default boto3 decides. The config map is MLflow's environment, too, which keeps artifacts in the store."""
    names = {"AWS_REQUEST_CHECKSUM_CALCULATION", "AWS_RESPONSE_CHECKSUM_VALIDATION"}
    both = ("--set=seaweedfs.enabled=true", "--set=mlflow.enabled=true", "--set=secret.existingSecret=ours")
    assert not names & set(pick(render(*both), "ConfigMap", "srlm")["data"])
    manifests = render(*both, "--set=config.s3Checksums=when_required")
    data = pick(manifests, "ConfigMap", "srlm")["data"]
    assert {name: data.get(name) for name in names} == dict.fromkeys(names, "when_required")
    (mlflow,) = dict(pod_specs(manifests))["Deployment/srlm-mlflow"]["containers"]
    assert "srlm" in [one["configMapRef"]["name"] for one in mlflow["envFrom"] if "configMapRef" in one]


def test_the_reaper_is_there_by_default_and_may_what_it_needs_and_nothing_else() -> None:
    manifests = render()
    rules = pick(manifests, "Role", "srlm-reaper")["rules"]
    allowed = [(rule["apiGroups"], rule["resources"], rule["verbs"]) for rule in rules]
    assert allowed == [([one.group], [one.resource], list(one.verbs)) for one in REAPER]
    spec = dict(pod_specs(manifests))["CronJob/srlm-reaper"]
    assert spec["serviceAccountName"] == "srlm-reaper" and spec["automountServiceAccountToken"] is True
    assert spec["containers"][0]["args"] == ["srlm", "clean", "--yes"] and "envFrom" not in spec["containers"][0]
    assert not [one for one in render("--set=reaper.enabled=false") if one["metadata"]["name"] == "srlm-reaper"]


def test_a_mistake_ends_a_train_job_and_what_is_taken_away_starts_again_without_counting() -> None:
    """JobSet's rules name the Job's by their place, as the message of a Job that failed does."""
    spec = pick(render("--set=training.enabled=true"), "TrainingRuntime", "srlm-torch")["spec"]["template"]["spec"]
    job = spec["replicatedJobs"][0]["template"]["spec"]
    rules = job["podFailurePolicy"]["rules"]
    assert rules[0]["onExitCodes"] == {"containerName": "node", "operator": "In", "values": [MISTAKE]}
    assert rules[1]["onPodConditions"] == [{"type": "DisruptionTarget", "status": "True"}]
    assert {rule["action"] for rule in rules} == {"FailJob"} and job["template"]["spec"]["restartPolicy"] == "Never"
    messages = (  # of a real Kubernetes 1.36
        "Container node for pod srlm-p/mistake-n29c7 failed with exit code 2 matching FailJob rule at index 0",
        "Pod srlm-p/taken-b85df has condition DisruptionTarget matching FailJob rule at index 1",
    )
    taken = [
        [rule["action"] for rule in spec["failurePolicy"]["rules"]
         if any(re.search(pattern, message) for pattern in rule["onJobFailureMessagePatterns"])]
        for message in messages
    ]  # fmt: skip
    assert taken == [["FailJobSet"], ["RestartJobSetAndIgnoreMaxRestarts"]]


def test_keys_are_in_secrets_alone(values: Path) -> None:
    """Every variable whose name says that it is a key is a reference; no argument and no ConfigMap names one."""
    secret = re.compile("SECRET|TOKEN|KEY|PASSWORD")
    manifests = rendered(values)
    for _, spec in pod_specs(manifests):
        for one in containers(spec):
            assert not any("value" in env for env in one.get("env", []) if secret.search(env["name"]))
            assert not any(secret.search(text) for text in one.get("args", []))
    for one in manifests:
        if one["kind"] == "ConfigMap":
            assert not any(secret.search(key) for key in one["data"])


def test_the_uri_of_the_database_is_no_argument() -> None:
    spec = dict(pod_specs(rendered(CHART / "ci" / "postgres-values.yaml")))["Deployment/srlm-mlflow"]
    uri = next(one for one in spec["containers"][0]["env"] if one["name"] == "MLFLOW_BACKEND_STORE_URI")
    assert uri["valueFrom"]["secretKeyRef"] == {"name": "mlflow-database", "key": "uri"}
    assert not any("persistentVolumeClaim" in volume for volume in spec["volumes"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--set=mlflw.enabled=true"], "'mlflw' not allowed"),
        (["--set=config.store=/data"], "/config/store"),
        (["--set=config.s3Checksums=never"], "/config/s3Checksums"),
        (["--set=judge.enabled=true"], "/judge/model"),
        (["--set=regression.enabled=true"], "/regression/model"),
        (["--set=seaweedfs.persistence.size=much"], "/seaweedfs/persistence/size"),
        (["--set=images.registry=https://registry.test"], "/images/registry"),
        (["--set=mlflow.enabled=true"], "set mlflow.artifacts, config.store or seaweedfs.enabled"),
        (["--set=seaweedfs.enabled=true"], "name it in secret.existingSecret"),
    ],
)
def test_wrong_values_are_refused_with_the_value_named(arguments: list[str], words: str) -> None:
    assert words in refusal(*arguments)


def test_every_value_is_described_and_every_description_has_a_value() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    schema["properties"].pop("global")  # Helm's own
    _compare(schema, yaml.safe_load((CHART / "values.yaml").read_text()), "")


def _compare(schema: dict[str, Any], value: object, path: str) -> None:
    assert schema.get("description"), f"{path} is not described"
    if isinstance(value, dict) and "properties" in schema:
        assert schema["additionalProperties"] is False, path
        optional = {"requests", "limits"}  # of resources, which may be empty
        assert set(value) | optional == set(schema["properties"]) | optional, path
        for key, one in value.items():
            _compare(schema["properties"][key], one, f"{path}.{key}")


def test_a_package_becomes_a_version_named_after_its_content(tmp_path: Path) -> None:
    """A version cannot change, so another content needs another name; what was compiled arrives unchanged."""
    names = []
    for number in (1, 2):
        path = tmp_path / f"{number}.yaml"
        path.write_text(f"# {number}\n{PACKAGE}")
        made = render("--set=pipelines.enabled=true", f"--set-file=pipelines.packages.demo={path}")
        version = next(one for one in made if one["kind"] == "PipelineVersion")
        spec, platform = yaml.safe_load_all(PACKAGE)
        assert version["spec"]["pipelineSpec"] == spec and version["spec"]["platformSpec"] == platform
        assert pick(made, "Pipeline", version["spec"]["pipelineName"])
        names.append(version["metadata"]["name"])
    assert names[0] != names[1]


def test_a_shipped_package_arrives_unchanged() -> None:
    path = CHART.parents[1] / "pipelines" / "compiled" / "demo.yaml"
    made = render("--set=pipelines.enabled=true", f"--set-file=pipelines.packages.demo={path}")
    version = next(one for one in made if one["kind"] == "PipelineVersion")
    documents = list(yaml.safe_load_all(path.read_text()))
    arrived = [version["spec"]["pipelineSpec"], *filter(None, [version["spec"].get("platformSpec")])]
    assert [_as_json(one) for one in arrived] == [_as_json(one) for one in documents]


def _as_json(value: Any) -> Any:
    """As Kubernetes reads it: one kind of number, and 1e-05 is one (PyYAML, of YAML 1.1, takes it for a text)."""
    if isinstance(value, dict):
        return {key: _as_json(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_as_json(one) for one in value]
    if isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return float(value) if isinstance(value, str) and re.fullmatch(r"\d+e[-+]\d+", value) else value


def regression(*more: str) -> dict[str, Any]:
    arguments = ("--set=regression.enabled=true", "--set=regression.model=models:/demo@candidate", *more)
    job: dict[str, Any] = pick(render(*arguments), "CronJob", "srlm-model-regression")["spec"]["jobTemplate"]["spec"]
    return job


def test_a_worse_model_differs_from_a_broken_comparison_in_the_job_s_status() -> None:
    """Exit code 1 fails the Job at once, with the reason PodFailurePolicy; 2 is tried once more."""
    job = regression()
    first, second = job["podFailurePolicy"]["rules"]
    assert first == {
        "action": "FailJob",
        "onExitCodes": {"containerName": "evaluate", "operator": "In", "values": [1]},
    }
    assert second["action"] == "Ignore" and second["onPodConditions"][0]["type"] == "DisruptionTarget"
    assert job["backoffLimit"] == 1 and job["template"]["spec"]["restartPolicy"] == "Never"


@pytest.mark.parametrize("engine", ["vllm", "endpoint"])
def test_the_comparison_serves_both_models_itself_unless_they_are_served(engine: str) -> None:
    """Its servers have the name and the owner that its pod tells, and a sidecar that ends them."""
    spec = regression(f"--set=regression.engine={engine}")["template"]["spec"]
    serves = engine != "endpoint"
    assert spec["automountServiceAccountToken"] is serves
    [container] = spec["containers"]
    assert {f"--engine={engine}", "--run=$(SRLM_POD_NAME)"} <= set(container["command"])
    assert any(one.startswith("--endpoint=") for one in container["command"]) is not serves
    guards = [one["command"][-2:] for one in spec.get("initContainers", [])]
    assert guards == ([["components.serving.kubernetes.guard", "$(SRLM_POD_NAME)"]] if serves else [])
    named = [one["name"] for one in container["env"] if "valueFrom" in one]
    assert named == ["SRLM_POD_NAME"]


def test_there_are_at_least_five_sets_of_values() -> None:
    assert len(VALUES) >= 5
