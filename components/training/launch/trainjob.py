"""Training on several nodes, as a plain manifest: a TrainJob of Kubeflow Trainer v2."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from components.core.hashing import content_hash
from components.kubernetes.labels import QUEUE, labels
from components.kubernetes.pods import (
    CONTAINER_SECURITY,
    FROM_CONFIG_MAP,
    FROM_SECRET,
    POD_SECURITY,
    resources,
    shared_memory,
)
from components.kubernetes.removal import TRAIN_JOBS
from components.kubernetes.settings import ClusterSettings, TrainingPods
from components.training.launch.request import TrainingRequest

GROUP, VERSION, PLURAL = TRAIN_JOBS
NODE = "node"  # Kubeflow Trainer's name for the job and the container that train
Manifest = dict[str, Any]


@dataclass(frozen=True)
class TrainJob:
    """One training of a run on several nodes."""

    request: TrainingRequest
    pods: TrainingPods
    cluster: ClusterSettings
    image: str
    run: str
    model: str

    @property
    def name(self) -> str:
        """The same for the same work of a run, so that a step that starts again finds its job; at most 63 letters."""
        stem = self.run if self.run[:1].isalpha() else f"run-{self.run}"
        return f"{stem[:32].rstrip('-.')}-{content_hash([self.run, self.request.stage().key])[:6]}-{self.model}"

    @property
    def labels(self) -> dict[str, str]:
        return labels("training", self.run, self.model)


def manifest(job: TrainJob, runtime_kind: str, owner: Mapping[str, Any] | None = None) -> Manifest:
    """The TrainJob. `owner` goes into ownerReferences: with it the job goes."""
    queue = {QUEUE: job.cluster.queue} if job.cluster.queue and job.pods.gpus else {}
    owners = {"ownerReferences": [dict(owner)]} if owner else {}
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "TrainJob",
        "metadata": {"name": job.name, "labels": {**job.labels, **queue}, **owners},
        "spec": {
            "runtimeRef": {"apiGroup": GROUP, "kind": runtime_kind, "name": job.cluster.training_runtime},
            "trainer": {
                "image": job.image,
                "command": [
                    "torchrun",
                    "-m",
                    "components.training.launch.worker",
                ],  # nodes and processes: Trainer's PET_*
                "args": [job.request.model_dump_json()],
                "numNodes": job.pods.nodes,
                "numProcPerNode": max(1, job.pods.gpus),
                "resourcesPerNode": resources(job.pods),
                "env": _environment(job.cluster),
            },
            "runtimePatches": [{"manager": "self-rewarding-pipelines/srlm", "trainingRuntimeSpec": _patch(job)}],
        },
    }


def _environment(cluster: ClusterSettings) -> list[Manifest]:
    own = [{"name": "HOME", "value": "/work"}, {"name": "SRLM_HOME", "value": "/work/.srlm"}]
    sources = {"configMapKeyRef": (cluster.config_map, FROM_CONFIG_MAP), "secretKeyRef": (cluster.secret, FROM_SECRET)}
    return own + [
        {"name": name, "valueFrom": {kind: {"name": source, "key": name, "optional": True}}}
        for kind, (source, names) in sources.items()
        for name in names
    ]


def _patch(job: TrainJob) -> Manifest:
    """What the runtime's pods get beyond it, so that any runtime of torch will do: volumes, security, place."""
    template = {"metadata": {"labels": job.labels}, "spec": _pod(job)}
    node = {"name": NODE, "template": {"spec": {"template": template}}}
    return {"template": {"spec": {"replicatedJobs": [node]}}}


def _pod(job: TrainJob) -> Manifest:
    pods = job.pods
    pod = {
        "serviceAccountName": job.cluster.service_account,
        "securityContext": POD_SECURITY,
        "imagePullSecrets": [{"name": name} for name in job.cluster.image_pull_secrets],
        "nodeSelector": pods.node_selector,
        "tolerations": pods.tolerations,
        "volumes": [
            {"name": "work", "emptyDir": {}},
            {"name": "tmp", "emptyDir": {}},
            shared_memory(pods),
        ],
        "containers": [
            {
                "name": NODE,
                "securityContext": CONTAINER_SECURITY,
                "volumeMounts": [
                    {"name": "work", "mountPath": "/work"},
                    {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108
                    {"name": "shm", "mountPath": "/dev/shm"},  # noqa: S108
                ],
            }
        ],
    }
    return {name: value for name, value in pod.items() if value}
