"""Training on several nodes, as a plain manifest: a TrainJob of Kubeflow Trainer v2."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from components.kubernetes.objects import KEEP, NO_SIDECAR, QUEUE, labels, object_name
from components.kubernetes.pods import (
    CONTAINER_SECURITY,
    FROM_SECRET,
    OF_JUDGE,
    asked_environment,
    from_config_map,
    of_node,
    pod_skeleton,
    resources,
    scratch_volume,
    shared_memory,
    temporary_volume,
    with_authorities,
    working_in,
)
from components.kubernetes.removal import TRAIN_JOBS
from components.kubernetes.settings import ClusterSettings, TrainingPods
from components.kubernetes.shape import PodShape, shaped
from components.training.launch.request import TORCHRUN, WORKER, TrainingRequest

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
        """The same for the same work of a run, so that a step that starts again finds its job.

        Short enough for JobSet, whose pods' names (63 characters at most) carry it.
        """
        return object_name(self.run, self.model, longest=32, identity=[self.run, self.request.stage().key])

    @property
    def labels(self) -> dict[str, str]:
        return labels("training", self.run, self.model)


def manifest(job: TrainJob, runtime_kind: str, owner: Mapping[str, Any] | None = None) -> Manifest:
    """The TrainJob. `owner` goes into ownerReferences: the job goes when it does.

    What its pods get beyond the runtime's is a patch, so that any runtime of torch will do.
    """
    queue = {QUEUE: job.cluster.queue} if job.cluster.queue else {}
    owners = {"ownerReferences": [dict(owner)]} if owner else {}
    template = {"metadata": {"labels": job.labels | NO_SIDECAR, "annotations": KEEP}, "spec": _pod(job)}
    pod_template = shaped(job.cluster.pods, "trainer", template)
    for container in pod_template["spec"]["containers"]:
        container.pop("env", None)  # of a trainer it stands in the TrainJob itself
    node = {"name": NODE, "template": {"spec": {"template": pod_template}}}
    patch = {"template": {"spec": {"replicatedJobs": [node]}}}
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "TrainJob",
        "metadata": {"name": job.name, "labels": {**job.labels, **queue}, **owners},
        "spec": {
            "runtimeRef": {"apiGroup": GROUP, "kind": runtime_kind, "name": job.cluster.training_runtime},
            "trainer": {
                "image": job.image,
                "command": ["python3", "-m", TORCHRUN],  # nodes and processes: Trainer's PET_*
                "args": ["-m", WORKER, job.request.model_dump_json()],
                "numNodes": job.pods.nodes,
                "numProcPerNode": max(1, job.pods.gpus),
                "resourcesPerNode": resources(of_node(job.pods, job.cluster)),
                "env": _environment(job.cluster),
            },
            "runtimePatches": [{"manager": "self-rewarding-pipelines/srlm", "trainingRuntimeSpec": patch}],
        },
    }


def _environment(cluster: ClusterSettings) -> list[Manifest]:
    own = working_in("/work")
    secret = (*FROM_SECRET, *OF_JUDGE)  # the judge's, where training stops early
    places = from_config_map(cluster)
    sources = {"configMapKeyRef": (cluster.config_map, places), "secretKeyRef": (cluster.secret, secret)}
    keys = [
        {"name": name, "valueFrom": {kind: {"name": source, "key": name, "optional": True}}}
        for kind, (source, names) in sources.items()
        for name in names
    ]
    shape = cluster.pods.get("trainer", PodShape())
    return own + keys + asked_environment(cluster) + (shape.container.get("env") or [])


def _pod(job: TrainJob) -> Manifest:
    # A runtime's own volume `work` is merged with ours: another kind of volume needs another name.
    name = "scratch" if job.cluster.scratch else "work"
    folders = {name: "/work", "tmp": "/tmp", "shm": "/dev/shm"}  # noqa: S108
    container = {
        "name": NODE,
        "securityContext": CONTAINER_SECURITY,
        "volumeMounts": [{"name": name, "mountPath": path} for name, path in folders.items()],
    }
    work = scratch_volume(name, job.pods, job.cluster)
    volumes = [work, temporary_volume(of_node(job.pods, job.cluster)), shared_memory(job.pods)]
    spec = {**pod_skeleton(job.cluster, job.pods), "volumes": volumes, "containers": [container]}
    return with_authorities(job.cluster, spec)
