"""A registered model that stays served: a Deployment with a Service, or KServe's InferenceService; and its follower.

Which model it is stands in two annotations of the pods and nowhere else (their containers read them as variables). So
what follows an alias of the registry changes these two, and Kubernetes rolls the pods; it needs no other right.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from components.kubernetes.objects import NO_SIDECAR, labels
from components.kubernetes.pods import (
    CONTAINER_SECURITY,
    asked_environment,
    pod_skeleton,
    resources,
    temporary_volume,
    with_authorities,
    working_in,
)
from components.kubernetes.shape import shaped
from components.serving.kubernetes.launch import MODEL, PORT, ServedModel
from components.serving.kubernetes.manifests import (
    SCRATCH,
    Manifest,
    ModelServer,
    deployment_of,
    pod_labels,
    pod_spec,
    service,
)

COMPONENT, FOLLOWER = "deployed-model", "follower"
ANNOTATIONS = {
    "SRLM_MODEL_URI": "self-rewarding-pipelines/model-uri",
    "SRLM_MODEL_DIGEST": "self-rewarding-pipelines/model-digest",
}
ANNOTATED = ServedModel("$(SRLM_MODEL_URI)", "$(SRLM_MODEL_DIGEST)", MODEL)  # Kubernetes puts the variables in
DRAIN_S = 30  # that a pod is left in peace, once it gets no more requests, to answer those that it has
GRACE_S = 90  # the same, and what an engine takes itself that goes on answering when it is told to end
LOGIN = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")
KIND, KSERVE_KIND = "Deployment", "InferenceService"
ROLLING = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}
_POLICY, _KSERVE, _KNATIVE = "rbac.authorization.k8s.io", "kserve.io", "knative.dev"  # API groups


@dataclass(frozen=True, kw_only=True)
class DeployedModel(ModelServer):
    """`name` is the registered model's; `uri` and `digest` are of the version that it serves first.

    `follows` ("models:/demo@champion") is what its follower compares with; "" for a version, which does not move.
    `namespace` may be empty where nothing is followed. `canary`: percent of the requests that KServe gives to a model
    that comes after another.
    """

    uri: str
    digest: str
    model: ServedModel = field(default=ANNOTATED, init=False)
    follows: str = ""
    namespace: str = ""
    kserve: bool = False
    canary: int | None = None

    @property
    def object_name(self) -> str:
        return object_name(self.name)

    @property
    def host(self) -> str:
        """Of the Service, with its port."""
        return f"{self.object_name}.{self.namespace}.svc:{PORT}"

    @property
    def labels(self) -> dict[str, str]:
        return labels(COMPONENT, model=self.name)

    @property
    def environment(self) -> list[Manifest]:
        return [
            {"name": name, "valueFrom": {"fieldRef": {"fieldPath": f"metadata.annotations['{annotation}']"}}}
            for name, annotation in ANNOTATIONS.items()
        ]

    def metadata(self, name: str = "") -> Manifest:
        """Of its objects; `name` is the follower's."""
        namespace = {"namespace": self.namespace} if self.namespace else {}
        its_labels = labels(FOLLOWER, model=self.name) if name else self.labels
        return {"name": name or self.object_name, **namespace, "labels": its_labels}


def object_name(name: str) -> str:
    """Of the Deployment, the Service and the InferenceService of a registered model; a letter comes first."""
    return f"model-{name}"


def follower_name(name: str) -> str:
    return f"follow-{name}"


def named_model(uri: str, digest: str) -> dict[str, str]:
    """The annotations that say which model the pods serve."""
    return dict(zip(ANNOTATIONS.values(), (uri, digest), strict=True))


def model_patch(kserve: bool, uri: str, digest: str) -> Manifest:
    """A merge patch of Deployment or InferenceService: another model, and so new pods."""
    named = {"annotations": named_model(uri, digest)}
    return {"spec": {"predictor": named} if kserve else {"template": {"metadata": named}}}


def model_of(manifest: Manifest) -> tuple[str, str]:
    """URI and digest in a Deployment or InferenceService as the cluster has it."""
    spec = manifest["spec"]
    named = spec["predictor"] if manifest["kind"] == KSERVE_KIND else spec["template"]["metadata"]
    uri, digest = (named.get("annotations", {}).get(name, "") for name in ANNOTATIONS.values())
    return uri, digest


def manifests(model: DeployedModel) -> list[Manifest]:
    """All objects, in the order in which they are applied."""
    served = [_inference_service(model)] if model.kserve else [service(model, model.metadata()), _deployment(model)]
    return served + (_follower(model) if model.follows else [])


def _deployment(model: DeployedModel) -> Manifest:
    """A new pod is ready before an old one goes, and that answers what it has begun."""
    spec = pod_spec(model)
    _drain(spec)
    return deployment_of(model, model.metadata(), ROLLING, named_model(model.uri, model.digest), spec)


def _drain(spec: Manifest) -> None:
    """An engine that drops its answers when it is told to end (vLLM) is told late."""
    spec["terminationGracePeriodSeconds"] = GRACE_S
    spec["containers"][0]["lifecycle"] = {"preStop": {"sleep": {"seconds": DRAIN_S}}}


def _inference_service(model: DeployedModel) -> Manifest:
    """The same pod as KServe's custom predictor, which becomes a Deployment; with a share of traffic it is Knative's.

    Knative takes no names of ports but its own, and gives pods time to end by itself.
    """
    spec, replicas = pod_spec(model), model.settings.replicas
    spec["containers"][0] |= {"name": "kserve-container", "ports": [{"containerPort": PORT, "protocol": "TCP"}]}
    told = named_model(model.uri, model.digest)
    if model.canary is None:
        mode = "RawDeployment"
        spec["deploymentStrategy"] = ROLLING
        _drain(spec)
    else:
        mode = "Serverless"
        told[f"serving.{_KNATIVE}/progress-deadline"] = f"{model.settings.start_timeout}s"
        spec.pop("terminationGracePeriodSeconds")
        spec["canaryTrafficPercent"] = model.canary
    pods = {"labels": pod_labels(model) | NO_SIDECAR, "annotations": told}
    shape = shaped(model.cluster.pods, "server", {"metadata": pods, "spec": spec})
    metadata = {"labels": pod_labels(model), "annotations": {f"serving.{_KSERVE}/deploymentMode": mode}}
    return {
        "apiVersion": f"serving.{_KSERVE}/v1beta1",
        "kind": KSERVE_KIND,
        "metadata": model.metadata() | metadata,
        "spec": {"predictor": {"minReplicas": replicas, "maxReplicas": replicas, **shape["metadata"], **shape["spec"]}},
    }


def _follower(model: DeployedModel) -> list[Manifest]:
    """A pod that compares alias and model; it may read and change this one object, and has no key of the store."""
    name = follower_name(model.name)
    metadata = model.metadata(name)
    group, plural = (f"serving.{_KSERVE}", "inferenceservices") if model.kserve else ("apps", "deployments")
    rule = {
        "apiGroups": [group],
        "resources": [plural],
        "resourceNames": [model.object_name],
        "verbs": ["get", "patch"],
    }
    account = {"kind": "ServiceAccount", "name": name, "namespace": model.namespace}
    role = {"apiGroup": _POLICY, "kind": "Role", "name": name}
    template = {"metadata": {"labels": metadata["labels"] | NO_SIDECAR}, "spec": _follower_pod(model, name)}
    spec = {"selector": {"matchLabels": metadata["labels"]}, "strategy": {"type": "Recreate"}, "template": template}
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata},
        {"apiVersion": f"{_POLICY}/v1", "kind": "Role", "metadata": metadata, "rules": [rule]},
        {
            "apiVersion": f"{_POLICY}/v1",
            "kind": "RoleBinding",
            "metadata": metadata,
            "roleRef": role,
            "subjects": [account],
        },
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": {"replicas": 1, **spec}},
    ]


def _follower_pod(model: DeployedModel, account: str) -> Manifest:
    cluster = model.cluster
    asked = asked_environment(cluster)
    login = {name for name in LOGIN if name not in [one["name"] for one in asked]}
    container: dict[str, Any] = {
        "name": "follow",
        "image": model.worker_image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["srlm", "deploy", model.follows, "--follow", *(["--kserve"] if model.kserve else [])],
        "env": [
            *working_in(SCRATCH),
            *asked,
            *(
                {"name": name, "valueFrom": {"secretKeyRef": {"name": cluster.secret, "key": name, "optional": True}}}
                for name in sorted(login)
            ),
        ],
        "envFrom": [{"configMapRef": {"name": cluster.config_map}}],
        "resources": resources(cluster.steps),
        "securityContext": CONTAINER_SECURITY,
        "volumeMounts": [{"name": "tmp", "mountPath": SCRATCH}],
    }
    spec = {
        **pod_skeleton(cluster),
        "serviceAccountName": account,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 5,
        "containers": [container],
        "volumes": [temporary_volume(cluster.steps)],
    }
    return with_authorities(cluster, spec)
