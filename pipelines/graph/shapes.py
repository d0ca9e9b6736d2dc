"""A step's pod as the recipe's `cluster.pods` shapes it, in the words of kfp-kubernetes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kfp import kubernetes

from components.kubernetes.shape import REMOVED, STEP_USER, PodShape


def shape_step(task: Any, shape: PodShape | None) -> Any:
    """What it cannot be given was refused when the recipe was read."""
    if shape is None:
        return task
    for name, value in shape.labels.items():
        kubernetes.add_pod_label(task, name, value)
    for name, value in shape.annotations.items():
        kubernetes.add_pod_annotation(task, name, value)
    spec = shape.spec
    for name, value in (spec.get("nodeSelector") or {}).items():
        kubernetes.add_node_selector(task, name, value)
    for toleration in spec.get("tolerations") or ():
        kubernetes.add_toleration_json(task, as_kfp_names_it(toleration))
    if affinity := (spec.get("affinity") or {}).get("nodeAffinity"):
        kubernetes.add_node_affinity_json(task, affinity)
    if secrets := spec.get("imagePullSecrets"):
        kubernetes.set_image_pull_secrets(task, [secret["name"] for secret in secrets])
    context = (spec.get("securityContext") or {}).items()
    user = {STEP_USER[name]: value for name, value in context if value != REMOVED}
    if user:
        kubernetes.set_security_context(task, **user, run_as_non_root=True)
    for one in shape.container.get("env") or ():
        task.set_env_variable(one["name"], one["value"])
    volumes = {volume["name"]: volume for volume in spec.get("volumes") or ()}
    for mount in shape.container.get("volumeMounts") or ():
        mount_volume(task, volumes[mount["name"]], mount)
    return task


def mount_volume(task: Any, volume: Mapping[str, Any], mount: Mapping[str, Any]) -> None:
    """One volume of a step, as a pod's spec names it."""
    name, path = volume["name"], mount["mountPath"]
    if claim := volume.get("persistentVolumeClaim"):
        kubernetes.mount_pvc(task, claim["claimName"], path, mount.get("subPath", ""))
    elif secret := volume.get("secret"):
        kubernetes.use_secret_as_volume(task, secret["secretName"], path, bool(secret.get("optional")))
    elif config_map := volume.get("configMap"):
        kubernetes.use_config_map_as_volume(task, config_map["name"], path, bool(config_map.get("optional")))
    elif ephemeral := volume.get("ephemeral"):
        claim = ephemeral["volumeClaimTemplate"]["spec"]
        size, storage_class = claim["resources"]["requests"]["storage"], claim.get("storageClassName")
        kubernetes.add_ephemeral_volume(task, name, path, claim["accessModes"], size, storage_class)
    else:
        empty = volume.get("emptyDir") or {}
        kubernetes.empty_dir_mount(task, name, path, empty.get("medium"), empty.get("sizeLimit"))


def as_kfp_names_it(toleration: dict[str, Any]) -> dict[str, Any]:
    """A pod's spec says tolerationSeconds, KFP's function toleration_seconds."""
    named = dict(toleration)
    if "tolerationSeconds" in named:
        named["toleration_seconds"] = named.pop("tolerationSeconds")
    return named
