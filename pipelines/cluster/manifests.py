"""A run as plain Kubernetes resources, for `kubectl create -f -`: a config map with the recipe, and a Job."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import yaml

from components.errors import UserError
from components.images import TRAINER, WORKER
from components.kubernetes.labels import labels
from components.kubernetes.pods import CONTAINER_SECURITY, POD_SECURITY, environment_sources, resources
from components.pods import PodSettings
from pipelines.recipe import Recipe

TOKEN_FOLDER, TOKEN_FILE = "/var/run/secrets/kubeflow/pipelines", "token"
DAY = 86400
SUBMISSION = PodSettings(cpu="100m", memory="1Gi")
Manifest = dict[str, Any]


@dataclass(frozen=True)
class Asked:
    """Which run, by what, and where; an empty image or namespace is the default."""

    run: str
    runner: Literal["kubeflow", "job"] = "kubeflow"
    namespace: str = ""
    image: str = ""
    engine: str = ""

    @property
    def component(self) -> str:
        return "submission" if self.runner == "kubeflow" else "run"


def manifests(recipe: Recipe, asked: Asked) -> str:
    """Both resources as YAML. The Job owns nothing of the cluster's; a Job of the same name is refused by it."""
    refuse_name(asked.run)
    both = [_config_map(recipe, asked), _job(recipe, asked)]
    return yaml.dump_all(both, Dumper=Readable, sort_keys=False, allow_unicode=True)


class Readable(yaml.SafeDumper):
    """Texts of several lines keep their lines: the recipe is for people, too."""


Readable.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None),
)


def refuse_name(run: str) -> None:
    """Raises UserError for a name that Kubernetes does not take for a Job, whose pods carry it as a label."""
    import re

    if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", run):
        raise UserError(f"a Job cannot be named {run!r}", "Give --run small letters, digits and -, 63 at most.")


def _metadata(asked: Asked) -> Manifest:
    place = {"namespace": asked.namespace} if asked.namespace else {}
    return {"name": asked.run, **place, "labels": labels(asked.component, asked.run)}


def _config_map(recipe: Recipe, asked: Asked) -> Manifest:
    text = yaml.dump(recipe.plain(), Dumper=Readable, sort_keys=False, allow_unicode=True)
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": _metadata(asked), "data": {"recipe.yaml": text}}


def _job(recipe: Recipe, asked: Asked) -> Manifest:
    """A pod that fails is started again three times: what a run finished it finds again, and a store or a registry may
    have been away for a while. A pod that the cluster takes away does not count."""
    rules = [{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}]
    metadata = _metadata(asked)
    if recipe.cluster.queue and _pod_settings(recipe, asked).gpus:
        metadata["labels"] = {**metadata["labels"], "kueue.x-k8s.io/queue-name": recipe.cluster.queue}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata,
        "spec": {
            "backoffLimit": 3,
            "podFailurePolicy": {"rules": rules},
            "podReplacementPolicy": "Failed",  # never two pods of one run at once
            "ttlSecondsAfterFinished": DAY,
            "template": {
                "metadata": {
                    "labels": labels(asked.component, asked.run),
                    "annotations": {"cluster-autoscaler.kubernetes.io/safe-to-evict": "false"},
                },
                "spec": _pod(recipe, asked),
            },
        },
    }


def _pod(recipe: Recipe, asked: Asked) -> Manifest:
    pod, cluster = _pod_settings(recipe, asked), recipe.cluster
    spec = {
        "restartPolicy": "Never",
        "serviceAccountName": cluster.service_account,
        "automountServiceAccountToken": asked.runner == "job",  # that makes servers; a submission asks Kubeflow alone
        "enableServiceLinks": False,
        "securityContext": POD_SECURITY,
        "imagePullSecrets": [{"name": name} for name in cluster.image_pull_secrets],
        "nodeSelector": pod.node_selector,
        "tolerations": pod.tolerations,
        "containers": [_container(recipe, asked)],
        "volumes": _volumes(pod, asked),
    }
    return {name: value for name, value in spec.items() if value not in ([], {})}


def _container(recipe: Recipe, asked: Asked) -> Manifest:
    environment: list[Manifest] = [
        {"name": "HOME", "value": "/work"},
        {"name": "SRLM_HOME", "value": "/work/.srlm"},
    ]
    places = {"recipe": "/recipe", "work": "/work", "tmp": "/tmp"}  # noqa: S108
    if asked.runner == "kubeflow":
        environment.append({"name": "KF_PIPELINES_SA_TOKEN_PATH", "value": f"{TOKEN_FOLDER}/{TOKEN_FILE}"})
        environment.append({"name": "NAMESPACE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}})
        places["kubeflow-token"] = TOKEN_FOLDER
    else:  # the servers that it makes go when its pod goes
        environment.append({"name": "SRLM_POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}})
        places["shm"] = "/dev/shm"  # noqa: S108
    return {
        "name": "srlm",
        "image": asked.image or (WORKER if asked.runner == "kubeflow" else TRAINER),
        "imagePullPolicy": "IfNotPresent",
        "command": _command(asked),
        "workingDir": "/work",
        "env": environment,
        "envFrom": environment_sources(recipe.cluster),
        "resources": resources(_pod_settings(recipe, asked)),
        "securityContext": CONTAINER_SECURITY,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [{"name": name, "mountPath": path} for name, path in places.items()],
    }


def _command(asked: Asked) -> list[str]:
    if asked.runner == "kubeflow":
        engine = [f"--engine={asked.engine}"] if asked.engine else []
        return ["srlm", "submit", "/recipe/recipe.yaml", f"--run={asked.run}", "--namespace=$(NAMESPACE)", *engine]
    return ["srlm", "run", "/recipe/recipe.yaml", f"--run={asked.run}", f"--engine={asked.engine or 'transformers'}"]


def _volumes(pod: PodSettings, asked: Asked) -> list[Manifest]:
    volumes: list[Manifest] = [
        {"name": "recipe", "configMap": {"name": asked.run}},
        {"name": "work", "emptyDir": {}},
        {"name": "tmp", "emptyDir": {}},
    ]
    if asked.runner == "job":
        size = {"sizeLimit": pod.shared_memory} if pod.shared_memory else {}
        return [*volumes, {"name": "shm", "emptyDir": {"medium": "Memory", **size}}]
    token = {"audience": "pipelines.kubeflow.org", "expirationSeconds": 3600, "path": TOKEN_FILE}
    return [*volumes, {"name": "kubeflow-token", "projected": {"sources": [{"serviceAccountToken": token}]}}]


def _pod_settings(recipe: Recipe, asked: Asked) -> PodSettings:
    """A Job walks the pipeline itself and so trains in its pod, unless several nodes do that; a submission is small."""
    if asked.runner == "kubeflow":
        return SUBMISSION
    return recipe.resources if recipe.resources.nodes == 1 else PodSettings(cpu="1", memory="4Gi")
