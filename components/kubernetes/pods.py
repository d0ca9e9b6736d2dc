"""What all pods of a run have in common: they pass Pod Security "restricted", and ask for what the recipe says."""

from __future__ import annotations

from typing import Any

from components.kubernetes.settings import ClusterSettings, PodSettings

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
FROM_CONFIG_MAP = ("AWS_ENDPOINT_URL_S3", "AWS_REGION")
FROM_SECRET = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "HF_TOKEN")
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


def resources(pod: PodSettings) -> dict[str, Any]:
    """Requests and limits of a container. Memory and GPUs are both: more memory than asked for would be another's."""
    requests = {"cpu": pod.cpu, "ephemeral-storage": pod.disk}
    limits: dict[str, Any] = {"memory": pod.memory} if pod.memory else {}
    limits |= {pod.gpu_type: str(pod.gpus)} if pod.gpus else {}
    return {"requests": limits | {name: value for name, value in requests.items() if value}, "limits": limits}


def shared_memory(pod: PodSettings) -> dict[str, Any]:
    """The volume `shm` for /dev/shm, where GPUs meet: a container has 64 MB of it by itself."""
    size = {"sizeLimit": pod.shared_memory} if pod.shared_memory else {}
    return {"name": "shm", "emptyDir": {"medium": "Memory", **size}}
