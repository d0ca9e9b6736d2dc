"""Every pod that a run brings about, whoever writes its spec: what it asks for and may take, and its environment.

Under a quota Kubernetes refuses a pod of which one container does not say all six amounts, init containers included.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from components.core.errors import UserError
from components.kubernetes.settings import OF_AUTHORITIES, PAST_PROXIES, PodSettings, StepPods, number
from components.serving.kubernetes.launch import LAUNCHES, ServedModel
from components.serving.kubernetes.manifests import Server, deployment
from components.training.launch.request import TrainingRequest
from components.training.launch.trainjob import TrainJob
from components.training.launch.trainjob import manifest as train_job
from pipelines.cluster.image_pull import _pod as probe
from pipelines.cluster.manifests import JobRequest, manifests
from pipelines.compile import load_recipe_for_elsewhere, package
from pipelines.graph.evaluation import evaluation_pipeline
from pipelines.graph.self_rewarding import self_rewarding_pipeline
from pipelines.recipe import Recipe, shipped_recipes
from tests.helpers.chart import VALUES, containers, pod_specs, rendered

Container = dict[str, Any]
AMOUNTS = ("cpu", "memory", "ephemeral-storage")
ENVIRONMENT = """cluster.environment={config_maps: {proxies: [HTTPS_PROXY, https_proxy]},
    secrets: {registry: [MLFLOW_TRACKING_USERNAME, MLFLOW_TRACKING_PASSWORD]},
    variables: {AWS_REQUEST_CHECKSUM_CALCULATION: when_required, MLFLOW_HTTP_REQUEST_MAX_RETRIES: 5},
    ca_bundle: {config_map: authorities, file: all.pem}}"""
PLAIN = {"AWS_REQUEST_CHECKSUM_CALCULATION": "when_required", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "5"}
PLAIN |= dict.fromkeys(OF_AUTHORITIES, "/etc/srlm/authorities/all.pem") | {"NO_PROXY": PAST_PROXIES}
REFERRED = {"HTTPS_PROXY": "proxies", "https_proxy": "proxies"}
SECRET = dict.fromkeys(("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"), "registry")


class FinishedStage:
    key = "0123456789abcdef"


@pytest.fixture(autouse=True)
def stage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TrainingRequest, "stage", lambda self: FinishedStage())


def specs(recipe: Recipe) -> Iterator[tuple[str, dict[str, Any]]]:
    """The specs of pods that Kubernetes gets from us; a TrainJob's node as the container that Trainer makes of it."""
    for engine in LAUNCHES:
        model = ServedModel("s3://bucket/model", "d1", "/models/m")
        images = {"worker_image": "worker:1", "engine_image": ""}
        asked = {"settings": recipe.serving, "cluster": recipe.cluster}
        server = Server(run="run", name="m1", engine=engine, model=model, **asked, **images)
        yield f"server {engine}", deployment(server)["spec"]["template"]["spec"]
    for request in (
        JobRequest("a-run", "job"),
        JobRequest("a-run", "kubeflow"),
        JobRequest("a-run", "job", engine="embedded"),
    ):
        _, job = yaml.safe_load_all(manifests(recipe, request))
        yield f"Job {request.runner} {request.engine}", job["spec"]["template"]["spec"]
    work = TrainingRequest(kind="dpo", root="s3://bucket/runs", settings={}, inputs={}, processes=2)
    made = train_job(TrainJob(work, recipe.resources, recipe.cluster, "trainer:1", "run", "m2"), "TrainingRuntime")
    (patch,) = made["spec"]["runtimePatches"]
    (node,) = patch["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
    spec, trainer = node["template"]["spec"]["template"]["spec"], made["spec"]["trainer"]
    (container,) = spec["containers"]
    yield (
        "TrainJob",
        {**spec, "containers": [{**container, "env": trainer["env"], "resources": trainer["resourcesPerNode"]}]},
    )


def steps(recipe: Recipe) -> Iterator[tuple[str, Container, dict[str, Any]]]:
    """Each executor of both packages: its container, and what Kubernetes is told beside."""
    for pipeline in (self_rewarding_pipeline(recipe), evaluation_pipeline(recipe, 1)):
        spec, platform = package(pipeline)
        pods = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
        for name, executor in spec["deploymentSpec"]["executors"].items():
            yield name, executor["container"], pods[name]


def unsaid(amounts: dict[str, Any], names: Sequence[str] = AMOUNTS) -> list[str]:
    """Which of them a container's `resources` lack, or say wrongly."""
    found = {f"{kind}.{name}": amounts.get(kind, {}).get(name) for kind in ("requests", "limits") for name in names}
    missing = [name for name, value in found.items() if not value]
    return missing or [name for name in names if number(found[f"requests.{name}"]) > number(found[f"limits.{name}"])]


def unsaid_in(pods: Iterable[tuple[str, dict[str, Any]]]) -> dict[str, list[str]]:
    """The same by container."""
    return {f"{pod}/{one['name']}": unsaid(one.get("resources", {})) for pod, spec in pods for one in containers(spec)}


def of_kfp(amounts: dict[str, str]) -> dict[str, Any]:
    return {
        kind: {name: amounts.get(f"resource{name.title()}{word}") for name in ("cpu", "memory")}
        for kind, word in (("requests", "Request"), ("limits", "Limit"))
    }


@pytest.mark.parametrize("name", shipped_recipes())
def test_every_container_of_every_recipe_says_what_it_asks_for_and_may_take(name: str) -> None:
    recipe = load_recipe_for_elsewhere(name)
    found = unsaid_in(specs(recipe))
    # of ephemeral storage Kubeflow can be told one number alone, and for pods without GPUs
    found |= {step: unsaid(of_kfp(container["resources"]), AMOUNTS[:2]) for step, container, _ in steps(recipe)}
    found["probe"] = unsaid(probe("probe", "image", recipe.cluster)["spec"]["containers"][0]["resources"])
    assert len(found) > 15
    assert {pod: lacking for pod, lacking in found.items() if lacking} == {}


@pytest.mark.parametrize("path", VALUES, ids=lambda path: path.stem.removesuffix("-values"))
def test_so_do_all_of_the_chart(path: Path) -> None:
    found = unsaid_in(pod_specs(rendered(path)))
    assert found and {pod: lacking for pod, lacking in found.items() if lacking} == {}


def test_each_kind_of_step_has_its_own() -> None:
    asked = [
        "cluster.steps={cpu: 1, memory: 3Gi}",
        "resources={cpu_limit: 7, memory: 20Gi}",
        "serving.pod={memory_limit: 9Gi}",
        "cluster.importer={cpu: 3}",
    ]
    recipe = load_recipe_for_elsewhere("demo", asked)
    limits = {name: of_kfp(container["resources"])["limits"] for name, container, _ in steps(recipe)}
    assert limits["exec-pair"] == {"cpu": "1", "memory": "3Gi"}
    assert limits["exec-dpo"] == {"cpu": "7", "memory": "20Gi"}
    assert limits["exec-import-models"] == {"cpu": "3", "memory": "16Gi"}
    weights, server = containers(dict(specs(recipe))["server vllm"])  # what Kubeflow's SDK makes says no disk
    assert weights["resources"]["limits"] == limits["exec-pair"] | {"ephemeral-storage": "4Gi"}
    assert server["resources"]["limits"] == {"cpu": "4", "memory": "9Gi", "ephemeral-storage": "40Gi"}


@pytest.mark.parametrize(
    ("pod", "requests", "limits"),
    [
        (StepPods(), ("100m", "512Mi"), ("2", "4Gi")),
        (PodSettings(), ("500m", "2Gi"), ("4", "16Gi")),
        (PodSettings(gpus=1), ("2", "16Gi"), ("8", "64Gi")),  # the loader of a model on GPUs holds it in memory
        (PodSettings(gpus=2), ("4", "32Gi"), ("16", "128Gi")),
        (PodSettings(gpus=2, memory_limit="24Gi"), ("4", "24Gi"), ("16", "24Gi")),  # as Kubernetes itself takes it
        (PodSettings(gpus=2, cpu="1"), ("1", "32Gi"), ("1", "128Gi")),
        (PodSettings(gpus=2, cpu="12", memory="200Gi"), ("12", "200Gi"), ("12", "200Gi")),
        (PodSettings(cpu="1", cpu_limit="3"), ("1", "2Gi"), ("3", "16Gi")),
        (PodSettings(cpu_limit="0", memory_limit="0"), ("500m", "2Gi"), (None, None)),  # no limit, where one is a harm
        (StepPods(cpu="0", memory="0.0Gi"), (None, None), (None, None)),
    ],
)
def test_what_is_not_given(pod: StepPods, requests: tuple[str, str], limits: tuple[str, str]) -> None:
    assert tuple(pod.requests().get(name) for name in ("cpu", "memory")) == requests
    assert tuple(pod.limits().get(name) for name in ("cpu", "memory")) == limits


@pytest.mark.parametrize("asked", [{"memory_limit": "256Mi"}, {"cpu": "3", "cpu_limit": "2500m"}])
def test_a_limit_below_its_request_is_refused(asked: dict[str, str]) -> None:
    with pytest.raises(ValidationError, match="is less than"):
        StepPods(**asked)  # type: ignore[arg-type]


def test_the_environment_reaches_every_container_and_secrets_not_the_model_s_own() -> None:
    """A model's text and its chat template may be hostile; what only watches pods needs no key either."""
    for pod, spec in specs(load_recipe_for_elsewhere("demo", [ENVIRONMENT])):
        assert {"name": "authorities", "configMap": {"name": "authorities"}} in spec["volumes"], pod
        for one in containers(spec):
            values = {each["name"]: each["value"] for each in one["env"] if "value" in each}
            assert PLAIN.items() <= values.items(), pod
            kinds = ("configMapKeyRef", "secretKeyRef")
            references = [
                (each["name"], each["valueFrom"][kind]["name"])
                for each in one["env"]
                for kind in kinds
                if kind in each.get("valueFrom", {})
            ]
            wanted = REFERRED | ({} if one["name"] in ("server", "guard") else SECRET)
            named = {name: source for name, source in references if name in REFERRED | SECRET}
            assert named == wanted, (pod, one["name"])
            assert {"name": "authorities", "mountPath": "/etc/srlm/authorities", "readOnly": True} in one[
                "volumeMounts"
            ]
            assert len({each["name"] for each in one["env"]}) == len(one["env"]), (
                "server-side apply refuses a name twice"
            )


CHECKSUMS = "AWS_REQUEST_CHECKSUM_CALCULATION"


def test_every_container_that_uses_the_store_gets_the_chart_s_checksums() -> None:
    """The config map's value (issue 13), or the recipe's in its place: a name that stands twice is refused."""
    for asked in ("config_maps: {mine: [AWS_REQUEST_CHECKSUM_CALCULATION]}", ""):
        recipe = load_recipe_for_elsewhere("demo", [f"cluster.environment={{{asked}}}"])
        source = "mine" if asked else "srlm"
        for pod, spec in specs(recipe):
            for one in containers(spec):
                if one["name"] in ("server", "guard"):
                    continue  # which never ask the store
                named = [
                    each["valueFrom"]["configMapKeyRef"]["name"] for each in one["env"] if each["name"] == CHECKSUMS
                ]
                whole = [each["configMapRef"]["name"] for each in one.get("envFrom", []) if "configMapRef" in each]
                assert named == [source] or (not asked and whole == ["srlm"]), (pod, one["name"])
        for step, _, told in steps(recipe):
            names = [
                (one["configMapName"], each["envVar"])
                for one in told["configMapAsEnv"]
                for each in one["keyToEnv"]
                if each["envVar"] == CHECKSUMS
            ]
            assert names == [(source, CHECKSUMS)], step


def test_it_reaches_every_step_of_kubeflow_pipelines() -> None:
    for name, container, pod in steps(load_recipe_for_elsewhere("demo", [ENVIRONMENT])):
        assert PLAIN.items() <= {one["name"]: one["value"] for one in container["env"]}.items(), name
        sources = [
            (one["configMapName"], [each["envVar"] for each in one["keyToEnv"]]) for one in pod["configMapAsEnv"]
        ]
        assert ("proxies", ["HTTPS_PROXY", "https_proxy"]) in sources
        assert not any(CHECKSUMS in names for _, names in sources), "its value stands above"
        keys = [(one["secretName"], [each["secretKey"] for each in one["keyToEnv"]]) for one in pod["secretAsEnv"]]
        assert ("registry", list(SECRET)) in keys
        (volume,) = pod["configMapAsVolume"]
        assert (volume["configMapName"], volume["mountPath"]) == ("authorities", "/etc/srlm/authorities")


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ("{variables: {MLFLOW_TRACKING_TOKEN: abc}}", "holds a secret"),
        ("{variables: {HTTPS_PROXY: 'http://me:mine@proxy:3128'}}", "holds a secret"),
        ("{variables: {HF_TOKEN: abc}}", "take the place"),
        ("{secrets: {mine: [AWS_ACCESS_KEY_ID]}}", "cluster.secret"),
        ("{config_maps: {a: [HTTPS_PROXY], b: [HTTPS_PROXY]}}", "HTTPS_PROXY stands twice"),
        ("{variables: {SSL_CERT_FILE: /x}, ca_bundle: {config_map: a}}", "SSL_CERT_FILE stands twice"),
        ("{variables: {'NO-NAME': x}}", "variables"),
        ("{config_maps: {Proxies: [HTTPS_PROXY]}}", "config_maps"),
    ],
)
def test_what_would_not_work_or_tell_a_secret_is_refused(environment: str, words: str) -> None:
    with pytest.raises((UserError, ValidationError), match=words):
        load_recipe_for_elsewhere("demo", [f"cluster.environment={environment}"])


@pytest.mark.parametrize("own", ["NO_PROXY", "no_proxy"])
def test_a_no_proxy_of_one_s_own_is_left_alone(own: str) -> None:
    environment = f"{{variables: {{HTTPS_PROXY: 'http://proxy:3128', {own}: .mine}}}}"
    recipe = load_recipe_for_elsewhere("demo", [f"cluster.environment={environment}"])
    assert recipe.cluster.environment.plain == {"HTTPS_PROXY": "http://proxy:3128", own: ".mine"}
