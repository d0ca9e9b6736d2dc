"""A run as plain Kubernetes resources, for `kubectl create -f -`: a config map with the recipe, and a Job."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import yaml

from components.core.hashing import content_hash
from components.core.images import TRAINER, WORKER
from components.kubernetes.objects import KEEP, NO_SIDECAR, QUEUE, labels
from components.kubernetes.pods import (
    CONTAINER_SECURITY,
    asked_environment,
    environment_sources,
    of_node,
    pod_skeleton,
    resources,
    scratch_volume,
    shared_memory,
    temporary_volume,
    with_authorities,
    working_in,
)
from components.kubernetes.settings import PodSettings, StepPods
from components.kubernetes.shape import shaped
from components.serving.kubernetes.launch import LAUNCHES
from pipelines.plan.disk import importer_pods, run_disk
from pipelines.recipe import Recipe
from pipelines.runs import check_run_name

TOKEN_FOLDER, TOKEN_FILE = "/var/run/secrets/kubeflow/pipelines", "token"
DAY = 86400
Manifest = dict[str, Any]


@dataclass(frozen=True)
class JobRequest:
    """Which run, by what, and where; an empty image or namespace is the default."""

    run: str
    runner: Literal["kubeflow", "job"] = "kubeflow"
    namespace: str = ""
    image: str = ""
    engine: str = ""
    engine_image: str = ""

    @property
    def component(self) -> str:
        return "submission" if self.runner == "kubeflow" else "run"

    @property
    def run_engine(self) -> str:
        """The engine of a run without Kubeflow."""
        return self.engine or "transformers"

    @property
    def makes_servers(self) -> bool:
        """Whether its pod makes the servers of models."""
        return self.runner == "job" and self.run_engine in LAUNCHES


def manifests(recipe: Recipe, request: JobRequest) -> str:
    """Both resources as YAML. The Job owns nothing of the cluster's; a Job of the same name is refused by it.

    Raises UserError for a name that the Job cannot have.
    """
    check_run_name(request.run)
    text = yaml.dump(recipe.to_dict(), Dumper=Readable, sort_keys=False, allow_unicode=True)
    metadata = {**_metadata(request), "name": _recipe_name(recipe, request)}
    config_map = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"recipe.yaml": text}}
    return yaml.dump_all([config_map, _job(recipe, request)], Dumper=Readable, sort_keys=False, allow_unicode=True)


class Readable(yaml.SafeDumper):
    """Texts of several lines keep their lines: the recipe is for people, too."""


Readable.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None),
)


def _metadata(request: JobRequest) -> Manifest:
    namespace = {"namespace": request.namespace} if request.namespace else {}
    return {"name": request.run, **namespace, "labels": labels(request.component, request.run)}


def gpu_note(recipe: Recipe, request: JobRequest) -> str:
    """How many GPUs a run takes at once whose Job's pod keeps the trainer's while models are served; "" for others."""
    held, serving = _pod_settings(recipe, request).gpus, recipe.serving
    if not held or not request.makes_servers:
        return ""
    servers = serving.replicas * serving.pod.gpus
    return (
        f"the Job's pod holds the trainer's GPUs ({held}) for the whole run, and a model's server needs {servers} "
        f"more: {held + servers} in all; Kubeflow (--runner kubeflow) frees them between steps"
    )


def _recipe_name(recipe: Recipe, request: JobRequest) -> str:
    """The config map's, with a hash of its content: another recipe never gets that of an earlier run of the same name.

    At most 72 characters of the 253 that it may have.
    """
    return f"{request.run}-{content_hash(recipe.to_dict())[:8]}"


def _job(recipe: Recipe, request: JobRequest) -> Manifest:
    """A pod that fails is started again three times: what a run finished it finds again, and a store or a registry may
    have been away for a while. A pod that the cluster takes away does not count."""
    rules = [{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}]
    metadata = _metadata(request)
    if recipe.cluster.queue and request.runner == "job":
        metadata["labels"] = {**metadata["labels"], QUEUE: recipe.cluster.queue}
    marks = {"labels": labels(request.component, request.run) | NO_SIDECAR, "annotations": KEEP}
    template = {"metadata": marks, "spec": _pod(recipe, request)}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata,
        "spec": {
            "backoffLimit": 3,
            "podFailurePolicy": {"rules": rules},
            "podReplacementPolicy": "Failed",  # never two pods of one run at once
            "ttlSecondsAfterFinished": DAY,
            "template": shaped(recipe.cluster.pods, "job", template),
        },
    }


def _pod(recipe: Recipe, request: JobRequest) -> Manifest:
    spec = {
        "restartPolicy": "Never",
        **pod_skeleton(recipe.cluster, _pod_settings(recipe, request)),
        "automountServiceAccountToken": request.runner == "job",  # that makes servers; a submission asks Kubeflow alone
        "enableServiceLinks": False,
        **({"initContainers": [_guard(recipe, request)]} if request.makes_servers else {}),
        "containers": [_container(recipe, request)],
        "volumes": _volumes(recipe, request),
    }
    return with_authorities(recipe.cluster, spec)


def _guard(recipe: Recipe, request: JobRequest) -> Manifest:
    """A sidecar (an init container that goes on): it is told to end after the run's container has, and ends servers."""
    return {
        "name": "guard",
        "restartPolicy": "Always",
        "image": request.image or TRAINER,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python3", "-m", "components.serving.kubernetes.guard", request.run],
        "env": [*working_in("/tmp"), *asked_environment(recipe.cluster, secrets=False)],  # noqa: S108
        "resources": resources(recipe.cluster.steps),
        "securityContext": CONTAINER_SECURITY,
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108
    }


def _container(recipe: Recipe, request: JobRequest) -> Manifest:
    environment: list[Manifest] = [
        *working_in("/work"),
        *asked_environment(recipe.cluster),
    ]
    folders = {"recipe": "/recipe", "work": "/work", "tmp": "/tmp"}  # noqa: S108
    asked = of_node(_asked(recipe, request), recipe.cluster)
    if request.runner == "kubeflow":
        command = ["srlm", "submit", "/recipe/recipe.yaml", f"--run={request.run}", "--namespace=$(NAMESPACE)"]
        command += [f"--engine={request.engine}"] if request.engine else []
        environment.append({"name": "KF_PIPELINES_SA_TOKEN_PATH", "value": f"{TOKEN_FOLDER}/{TOKEN_FILE}"})
        environment.append({"name": "NAMESPACE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}})
        folders["kubeflow-token"] = TOKEN_FOLDER
    else:  # the servers that it makes go when its pod goes
        command = ["srlm", "run", "/recipe/recipe.yaml", f"--run={request.run}", f"--engine={request.run_engine}"]
        environment.append({"name": "SRLM_POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}})
        folders["shm"] = "/dev/shm"  # noqa: S108
    command += [f"--engine-image={request.engine_image}"] if request.engine_image else []
    return {
        "name": "srlm",
        "image": request.image or (WORKER if request.runner == "kubeflow" else TRAINER),
        "imagePullPolicy": "IfNotPresent",
        "command": command,
        "workingDir": "/work",
        "env": environment,
        "envFrom": environment_sources(recipe.cluster),
        "resources": resources(asked),
        "securityContext": CONTAINER_SECURITY,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [{"name": name, "mountPath": path} for name, path in folders.items()],
    }


def _volumes(recipe: Recipe, request: JobRequest) -> list[Manifest]:
    asked, cluster = _asked(recipe, request), recipe.cluster
    recipe_file = {"name": "recipe", "configMap": {"name": _recipe_name(recipe, request)}}
    volumes: list[Manifest] = [recipe_file, temporary_volume(of_node(asked, cluster))]
    if request.runner == "job":
        return [*volumes, scratch_volume("work", asked, cluster), shared_memory(_pod_settings(recipe, request))]
    volumes.append(temporary_volume(asked, "work"))
    token = {"audience": "pipelines.kubeflow.org", "expirationSeconds": 3600, "path": TOKEN_FILE}
    return [*volumes, {"name": "kubeflow-token", "projected": {"sources": [{"serviceAccountToken": token}]}}]


def _pod_settings(recipe: Recipe, request: JobRequest) -> PodSettings:
    """A Job runs the pipeline itself and so trains in its pod, unless several nodes do that; a submission is small."""
    return recipe.resources if _trains(recipe, request) else PodSettings()


def _asked(recipe: Recipe, request: JobRequest) -> StepPods:
    """What the run's container asks for; one that does not train imports models all the same."""
    steps = recipe.cluster.steps
    if request.runner != "job":
        return steps
    if _trains(recipe, request):
        return recipe.resources.holding(run_disk(recipe))
    importer = importer_pods(recipe)
    return steps.model_copy(update={name: importer.amount(name) or "0" for name in ("disk", "disk_limit")})


def _trains(recipe: Recipe, request: JobRequest) -> bool:
    return request.runner == "job" and recipe.resources.nodes == 1
