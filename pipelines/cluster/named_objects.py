"""The objects that a recipe's `cluster` names: each is there with the keys named, or the command that makes it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from components.kubernetes.client import Cluster, ClusterError
from components.kubernetes.settings import ClusterSettings
from pipelines.local.doctor import Finding, broken, ok, unknown

CHART = "helm upgrade --install the chart (charts/self-rewarding) in this namespace."
WORKLOAD_IDENTITY = "Not needed with a workload identity for the store."
QUEUE_GROUP, QUEUE_VERSIONS = "kueue.x-k8s.io", ("v1beta2", "v1beta1")
PULL_KEY = ".dockerconfigjson"


def check_named_objects(cluster: Cluster, names: ClusterSettings) -> Iterator[Finding]:
    """One finding for each object. Of a secret the keys are looked at, and nothing of it is shown."""
    core, asked = cluster.core, names.environment
    read_map, read_secret = core.read_namespaced_config_map, core.read_namespaced_secret
    yield _found(cluster, _Named("ServiceAccount", names.service_account, core.read_namespaced_service_account), CHART)
    yield _found(cluster, _Named("ConfigMap", names.config_map, read_map), CHART)
    yield _found(cluster, _Named("Secret", names.secret, read_secret, needed=False), WORKLOAD_IDENTITY)
    for name, keys in asked.config_maps.items():
        yield _found(cluster, _Named("ConfigMap", name, read_map, tuple(keys)), _literals("configmap", name, keys))
    for name, keys in asked.secrets.items():
        yield _found(cluster, _Named("Secret", name, read_secret, tuple(keys)), _literals("secret generic", name, keys))
    if bundle := asked.ca_bundle:
        command = f"kubectl create configmap {bundle.config_map} --from-file={bundle.file}=ca.crt"
        yield _found(cluster, _Named("ConfigMap", bundle.config_map, read_map, (bundle.file,)), command)
    for name in names.image_pull_secrets:
        command = f"kubectl create secret docker-registry {name} --docker-server=HOST --docker-username=USER "
        command += "--docker-password=PASSWORD"
        yield _found(cluster, _Named("Secret", name, read_secret, (PULL_KEY,)), command)
    if names.model_cache:
        claim = _Named("PersistentVolumeClaim", names.model_cache, core.read_namespaced_persistent_volume_claim)
        yield _found(cluster, claim, "helm upgrade the chart with --set modelCache.enabled=true, or make a claim")
    if names.queue:
        yield _queue(cluster, names.queue)


@dataclass(frozen=True)
class _Named:
    """An object by its kind and name, the call that reads it, and the keys that its data must have."""

    kind: str
    name: str
    read: Callable[..., Any]
    keys: tuple[str, ...] = ()
    needed: bool = True


def _found(cluster: Cluster, named: _Named, command: str) -> Finding:
    """`command` makes one that is not there; keys are added to one that is."""
    what = f"{named.kind} {named.name}"
    in_namespace = f" -n {cluster.namespace}" if command.startswith("kubectl") else ""
    try:
        found = named.read(named.name, cluster.namespace)
    except ClusterError as error:
        if error.status == 403:
            look = f"kubectl get {named.kind.lower()} {named.name} -n {cluster.namespace}"
            return unknown(f"whether {what} is there may not be asked", look)
        if error.status != 404:
            raise
        return (broken if named.needed else unknown)(f"{what} is not there", command + in_namespace)
    if not named.keys:
        return ok(f"{what} is there")
    held = {*(found.data or {}), *(getattr(found, "binary_data", None) or {})}
    if missing := [key for key in named.keys if key not in held]:
        return broken(f"{what} has no {', '.join(missing)}", _patch(cluster, named, missing))
    return ok(f"{what} is there, with {', '.join(named.keys)}")


def _literals(kind: str, name: str, keys: list[str]) -> str:
    return " ".join([f"kubectl create {kind} {name}", *(f"--from-literal={key}=VALUE" for key in keys)])


def _patch(cluster: Cluster, named: _Named, missing: list[str]) -> str:
    """The command that adds keys to an object that is there."""
    field = "data" if named.kind == "ConfigMap" else "stringData"
    values = shlex.quote(json.dumps({field: dict.fromkeys(missing, "VALUE")}))
    return f"kubectl patch {named.kind.lower()} {named.name} --type merge -p {values} -n {cluster.namespace}"


def _queue(cluster: Cluster, name: str) -> Finding:
    """Kueue's local queue, in the version of its API that is served."""
    remedy = "Make a LocalQueue of that name (Kueue), name another in cluster.queue, or none."
    for version in QUEUE_VERSIONS:
        at = (QUEUE_GROUP, version, cluster.namespace, "localqueues")
        try:
            cluster.custom.get_namespaced_custom_object(*at, name)
        except ClusterError as error:
            if error.status == 403:
                return unknown(f"whether LocalQueue {name} is there may not be asked", f"kubectl get localqueue {name}")
            if error.status != 404:
                raise
        else:
            return ok(f"LocalQueue {name} is there")
    return broken(f"LocalQueue {name} is not there: trainings, servers and runs would wait for ever", remedy)
