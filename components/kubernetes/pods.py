"""What all pods of a run have in common: they pass Pod Security "restricted", and ask for what the recipe says."""

from __future__ import annotations

from typing import Any, TypeVar

from components.core.s3_refusals import CHECKSUMS
from components.kubernetes.settings import AUTHORITIES, ClusterSettings, PodSettings, StepPods

Pods = TypeVar("Pods", bound=StepPods)
USER = 65532  # as in images/Dockerfile
POD_SECURITY: dict[str, Any] = {
    "runAsNonRoot": True,
    "runAsUser": USER,
    "runAsGroup": USER,
    "fsGroup": USER,
    "seccompProfile": {"type": "RuntimeDefault"},
}
CONTAINER_SECURITY: dict[str, Any] = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
# What steps and trainers read from the environment, where variables are named one by one. A session token belongs to
# keys that are lent for a time.
FROM_CONFIG_MAP = ("AWS_ENDPOINT_URL_S3", "AWS_REGION", CHECKSUMS)
FROM_SECRET = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "HF_TOKEN")
PLACES = ("SRLM_STORE", "SRLM_TRACKING_URI")  # from the config map, for the steps that a run begins and ends with
# From the same secret, for the steps alone that ask these endpoints: each name stands in six node states of a step.
OF_POLICY, OF_JUDGE, OF_ANNOTATOR = ("SRLM_ENDPOINT_API_KEY",), ("SRLM_JUDGE_API_KEY",), ("SRLM_ANNOTATOR_API_KEY",)


def pod_skeleton(cluster: ClusterSettings, pod: PodSettings | None = None) -> dict[str, Any]:
    """What the spec of every pod has: security and pull secrets; with `pod` its account and the nodes it may run on."""
    secrets = [{"name": name} for name in cluster.image_pull_secrets]
    spec: dict[str, Any] = {"securityContext": POD_SECURITY, "imagePullSecrets": secrets}
    if pod is not None:  # with a workload identity the account is what may read the store
        spec |= {"serviceAccountName": cluster.service_account}
        spec |= {"nodeSelector": pod.node_selector, "tolerations": pod.tolerations}
    return {name: value for name, value in spec.items() if value}


def environment_sources(cluster: ClusterSettings) -> list[dict[str, Any]]:
    """Store, registry and keys, by reference; neither has to be there (a workload identity needs no key)."""
    return [
        {"configMapRef": {"name": cluster.config_map, "optional": True}},
        {"secretRef": {"name": cluster.secret, "optional": True}},
    ]


def from_config_map(cluster: ClusterSettings) -> list[str]:
    """What pods whose variables are named one by one take from `cluster.config_map`; the recipe's own take its place,
    as a name that stands twice is refused."""
    return [name for name in FROM_CONFIG_MAP if name not in cluster.environment.named]


def asked_environment(cluster: ClusterSettings, secrets: bool = True) -> list[dict[str, Any]]:
    """The variables that the recipe's `cluster.environment` names; without `secrets` only what is none."""
    asked = cluster.environment
    sources = {"configMapKeyRef": asked.config_maps, "secretKeyRef": asked.secrets if secrets else {}}
    referred = [
        {"name": name, "valueFrom": {kind: {"name": source, "key": name}}}
        for kind, found in sources.items()
        for source, names in found.items()
        for name in names
    ]
    return referred + [{"name": name, "value": value} for name, value in asked.plain.items()]


def with_authorities(cluster: ClusterSettings, spec: dict[str, Any]) -> dict[str, Any]:
    """A pod's spec, with the certificate authorities of `cluster.environment` in each of its containers."""
    bundle = cluster.environment.ca_bundle
    if not bundle:
        return spec
    mount = {"name": "authorities", "mountPath": AUTHORITIES, "readOnly": True}
    volume = {"name": "authorities", "configMap": {"name": bundle.config_map}}
    mounted: dict[str, Any] = {
        kind: [{**one, "volumeMounts": [*one.get("volumeMounts", []), mount]} for one in spec[kind]]
        for kind in ("initContainers", "containers")
        if kind in spec
    }
    return {**spec, **mounted, "volumes": [*spec.get("volumes", []), volume]}


def resources(pod: StepPods) -> dict[str, Any]:
    """Requests and limits of a container."""
    return {"requests": pod.requests(), "limits": pod.limits()}


def of_node(pod: Pods, cluster: ClusterSettings) -> Pods:
    """The same where models lie on a claim: of the node's disk it takes no more than a step does."""
    if cluster.scratch is None:
        return pod
    amounts = {name: cluster.steps.amount(name) or "0" for name in ("disk", "disk_limit")}
    return pod.model_copy(update=amounts)


def scratch_volume(name: str, pod: StepPods, cluster: ClusterSettings) -> dict[str, Any]:
    """The volume for models, checkpoints and caches: the node's disk up to the pod's limit, or the claim."""
    scratch, size = cluster.scratch, pod.amount("disk_limit") or pod.amount("disk")
    if scratch is None:
        return {"name": name, "emptyDir": {"sizeLimit": size} if size else {}}
    if scratch.claim:
        return {"name": name, "persistentVolumeClaim": {"claimName": scratch.claim}}
    size = size or pod.defaults["disk_limit"]  # a claim has one
    claim: dict[str, Any] = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}}
    claim |= {"storageClassName": scratch.storage_class} if scratch.storage_class else {}
    return {"name": name, "ephemeral": {"volumeClaimTemplate": {"spec": claim}}}


def temporary_volume(pod: StepPods, name: str = "tmp") -> dict[str, Any]:
    """A volume on the node's disk, up to what the pod may take of it."""
    size = pod.amount("disk_limit")
    return {"name": name, "emptyDir": {"sizeLimit": size} if size else {}}


def working_in(folder: str, home: str = "") -> list[dict[str, Any]]:
    """The variables by which all that programs keep lies in a volume: Hugging Face's and Triton's caches (HOME),
    temporary files and Inductor's (TMPDIR), and ours, which may lie in another (`home`)."""
    folders = {"HOME": folder, "TMPDIR": folder, "SRLM_HOME": home or f"{folder}/.srlm"}
    return [{"name": name, "value": value} for name, value in folders.items()]


def shared_memory(pod: PodSettings) -> dict[str, Any]:
    """The volume `shm` for /dev/shm, where GPUs meet: a container has 64 MB of it by itself."""
    size = {"sizeLimit": pod.shared_memory} if pod.shared_memory else {}
    return {"name": "shm", "emptyDir": {"medium": "Memory", **size}}
