"""A registered model into traffic and out of it: deployed as the recipe says that made it, and moved with its alias."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from components.core.errors import UserError
from components.core.images import WORKER
from components.core.progress import say
from components.core.stage import find_manifest
from components.kubernetes.client import Cluster, ClusterError
from components.kubernetes.objects import apply, merge, read, remove
from components.registry.references import resolve
from components.serving.kubernetes.deployed import (
    KIND,
    KSERVE_KIND,
    DeployedModel,
    follower_name,
    manifests,
    model_of,
    model_patch,
    object_name,
)
from components.serving.kubernetes.launch import LAUNCHES
from components.serving.kubernetes.manifests import require_fetchable
from components.serving.kubernetes.readiness import wait_until_ready
from pipelines.cluster.manifests import Readable
from pipelines.cluster.reach import named_by_chart
from pipelines.recipe import recipe_of

POLL_INTERVAL_S = 5.0
FOLLOWER = ("Deployment", "RoleBinding", "Role", "ServiceAccount")  # the kinds that a follower is made of


@dataclass(frozen=True)
class DeployRequest:
    """Which model to deploy (models:/NAME@ALIAS or models:/NAME/VERSION), and with what.

    Without `recipe` the one counts that made the model; an image that is empty is the one of the namespace's config
    map, else the default.
    """

    reference: str
    engine: str = "vllm"
    recipe: str = ""
    overrides: Sequence[str] = ()
    worker_image: str = ""
    engine_image: str = ""
    kserve: bool = False
    canary: int | None = None


def deployed_model(request: DeployRequest, tracking_uri: str, namespace: str, cluster: Cluster | None) -> DeployedModel:
    """What the registry, the model's recipe and the namespace say of it; without a cluster nobody asks one.

    Raises UserError for what cannot be deployed.
    """
    if request.engine not in LAUNCHES:
        raise UserError(f"the engine {request.engine!r} serves nothing on a cluster", f"Use {', '.join(LAUNCHES)}.")
    if request.canary is not None and not request.kserve:
        raise UserError("shares of traffic are KServe's", "Give --canary with --kserve.")
    model = resolve(tracking_uri, request.reference)
    if not model.name:
        raise UserError(f"{model.label} is not in the registry", "Give models:/NAME@ALIAS or models:/NAME/VERSION.")
    require_fetchable(model.stage)
    follows = request.reference if "@" in request.reference else ""
    if follows and not namespace:
        raise UserError("what follows an alias gets rights in a namespace, and none is named", "Give --namespace.")
    recipe = recipe_of(model.stage.rsplit("/", 2)[0], model, request.recipe, request.overrides)
    found = None if request.recipe else find_manifest(model.stage)  # else the store need not be reached from here
    pod = recipe.serving.pod.holding(found.size if found else 0)
    known = dict(os.environ) if cluster is None else named_by_chart(cluster, recipe.cluster)
    return DeployedModel(
        name=model.name,
        uri=model.stage,
        digest=model.digest,
        engine=request.engine,
        settings=recipe.serving.model_copy(update={"pod": pod, "adapter_rank": 0}),
        cluster=recipe.cluster,
        worker_image=request.worker_image or known.get("SRLM_WORKER_IMAGE") or WORKER,
        engine_image=request.engine_image or known.get(f"SRLM_{request.engine.upper()}_IMAGE", ""),
        follows=follows,
        namespace=namespace,
        kserve=request.kserve,
        canary=request.canary,
    )


def as_yaml(model: DeployedModel) -> str:
    """All of its objects, for kubectl or a repository that a cluster follows."""
    return yaml.dump_all(manifests(model), Dumper=Readable, sort_keys=False, allow_unicode=True)


def deploy(cluster: Cluster, model: DeployedModel) -> None:
    """Make or change its objects; a Deployment is waited for. Raises UserError with the reason why it does not come.

    What was served before goes on until the new pods are ready, and if they never are.
    """
    other = KIND if model.kserve else KSERVE_KIND
    if _is_there(cluster, other, model.object_name):
        raise UserError(
            f"{model.name} is deployed as {other} {model.object_name} already",
            f"srlm undeploy {model.name} removes it; then deploy again.",
        )
    if not model.follows:  # else its follower would move it back
        _remove_follower(cluster, model.name)
    for manifest in manifests(model):
        try:
            apply(cluster, manifest)
        except ClusterError as error:
            if error.status != 404 or manifest["kind"] != KSERVE_KIND:
                raise
            raise UserError(
                "the cluster knows no InferenceService", "Install KServe, or deploy without --kserve."
            ) from error
    if not model.kserve:
        wait_until_ready(cluster, model)


def undeploy(cluster: Cluster, name: str) -> list[str]:
    """Remove whatever serves the registered model; returns what was removed, as "Deployment model-demo"."""
    removed = _remove_follower(cluster, name)
    served = object_name(name)
    if remove(cluster, KIND, served):
        remove(cluster, "Service", served)
        return [*removed, f"{KIND} {served}"]
    return removed + ([f"{KSERVE_KIND} {served}"] if remove(cluster, KSERVE_KIND, served) else [])


def follow(cluster: Cluster, tracking_uri: str, reference: str, kserve: bool) -> None:
    """Compare alias and model for ever; what goes wrong is said once, and tried again: a model is served meanwhile."""
    kind, told = KSERVE_KIND if kserve else KIND, ""
    while True:
        try:
            line = follow_once(cluster, tracking_uri, reference, kind)
        except UserError as error:
            line = str(error)
        if line != told:
            say(line)
            told = line
        time.sleep(POLL_INTERVAL_S)


def follow_once(cluster: Cluster, tracking_uri: str, reference: str, kind: str) -> str:
    """Have the model served that the alias names; returns how that stands. Raises UserError where it cannot tell."""
    wanted = resolve(tracking_uri, reference)
    require_fetchable(wanted.stage)
    found = read(cluster, kind, object_name(wanted.name))
    if found is None:
        raise UserError(f"{wanted.name} is not deployed in {cluster.namespace}", f"srlm deploy {reference} does that.")
    _, digest = model_of(found)
    if digest == wanted.digest:
        return f"{reference}, {digest[:12]}: {_progress(found)}"
    merge(cluster, kind, object_name(wanted.name), model_patch(kind == KSERVE_KIND, wanted.stage, wanted.digest))
    return f"{reference} is {wanted.digest[:12]} now; {digest[:12]} is served until that is ready"


def _progress(found: Mapping[str, Any]) -> str:
    """What the cluster says of a Deployment's or an InferenceService's pods."""
    conditions = {one["type"]: one for one in found.get("status", {}).get("conditions", [])}
    told = conditions.get("Ready") or conditions.get("Progressing") or {}  # the first is KServe's
    status, reason = told.get("status"), told.get("reason")
    if reason == "NewReplicaSetAvailable" or (told.get("type") == "Ready" and status == "True"):
        return "served"
    if status == "False":
        return f"its pods do not come ({told.get('message') or reason}); what was served before still is"
    return "its pods are starting"


def _is_there(cluster: Cluster, kind: str, name: str) -> bool:
    """Who may not ask for InferenceServices has none: where KServe is missing, its absence looks like a refusal."""
    try:
        return read(cluster, kind, name) is not None
    except ClusterError as error:
        if error.status != 403 or kind != KSERVE_KIND:
            raise
        return False


def _remove_follower(cluster: Cluster, name: str) -> list[str]:
    return [f"{kind} {follower_name(name)}" for kind in FOLLOWER if remove(cluster, kind, follower_name(name))]
