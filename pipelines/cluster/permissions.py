"""What may be done in the namespace of the runs, and by whom: the chart's Roles and `srlm doctor` compare with it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from components.kubernetes.client import Cluster


@dataclass(frozen=True)
class Permission:
    """Verbs on one resource ("pods/log" is a subresource) and what they are for."""

    group: str
    resource: str
    verbs: tuple[str, ...]
    purpose: str


# The service account of the runs: serving, following and removing what a run makes, and nothing else.
RUN = (
    Permission("apps", "deployments", ("get", "list", "create", "patch", "delete"), "to serve models"),
    Permission("", "services", ("list", "create", "patch", "delete"), "to serve models"),
    Permission("", "pods", ("get", "list"), "to know why a server does not come"),
    Permission("", "pods/log", ("get",), "to say what a server said last"),
    Permission("", "events", ("list",), "to know what the cluster says about a pod"),
)
# The same account, where Kubeflow Trainer is used.
TRAINING = (
    Permission(
        "trainer.kubeflow.org", "trainjobs", ("get", "list", "create", "patch", "delete"), "to train on several nodes"
    ),
    Permission("trainer.kubeflow.org", "trainingruntimes", ("get",), "to train on several nodes"),
)
# The reaper of the chart, and whoever calls srlm clean.
REAPER = (
    Permission("argoproj.io", "workflows", ("get",), "to see whether a run has ended"),
    Permission("", "pods", ("get",), "to see whether a run has ended"),
    Permission("batch", "jobs", ("get",), "to see whether a run has ended"),
    Permission("apps", "deployments", ("list", "delete"), "to free servers"),
    Permission("", "services", ("delete",), "to free servers"),
    Permission("trainer.kubeflow.org", "trainjobs", ("list", "delete"), "to free what trains"),
)
# Whoever submits, follows and cancels runs with kubectl and srlm.
PERSON = (
    Permission("batch", "jobs", ("get", "list", "create", "delete"), "to start, follow and cancel runs"),
    Permission("", "configmaps", ("get", "list", "create", "delete"), "for the recipes of runs"),
    Permission("", "pods", ("get", "list"), "to follow runs"),
    Permission("", "pods/log", ("get",), "to read logs"),
    Permission("", "events", ("list",), "to know what the cluster says about a pod"),
    Permission("apps", "deployments", ("list", "delete"), "to free the servers of a run"),
    Permission("", "services", ("list", "delete"), "to free the servers of a run"),
)
# The same person, where Kubeflow Trainer is used.
PERSON_TRAINING = (
    Permission("trainer.kubeflow.org", "trainjobs", ("list", "delete"), "to end training on several nodes"),
)


def own_missing(cluster: Cluster, wanted: Iterable[Permission]) -> list[str]:
    """What we may not do of it, as "delete jobs.batch (to ...)"; asked by SelfSubjectAccessReview, which everybody may.

    Raises ClusterError.
    """
    from kubernetes import client

    def allowed(attributes: Any) -> bool:
        spec = client.V1SelfSubjectAccessReviewSpec(resource_attributes=attributes)
        review = client.V1SelfSubjectAccessReview(spec=spec)
        return bool(client.AuthorizationV1Api(cluster.api).create_self_subject_access_review(review).status.allowed)

    return _missing(cluster.namespace, wanted, allowed)


def missing_of(cluster: Cluster, account: str, wanted: Iterable[Permission]) -> list[str]:
    """The same for a service account of the namespace. Only administrators may ask (others: ClusterError, 403)."""
    from kubernetes import client

    namespace = cluster.namespace

    def allowed(attributes: Any) -> bool:
        spec = client.V1SubjectAccessReviewSpec(
            user=f"system:serviceaccount:{namespace}:{account}",
            groups=["system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated"],
            resource_attributes=attributes,
        )
        review = client.V1LocalSubjectAccessReview(metadata=client.V1ObjectMeta(namespace=namespace), spec=spec)
        authorization = client.AuthorizationV1Api(cluster.api)
        created = authorization.create_namespaced_local_subject_access_review(namespace, review)
        return bool(created.status.allowed)

    return _missing(namespace, wanted, allowed)


def _missing(namespace: str, wanted: Iterable[Permission], allowed: Any) -> list[str]:
    from kubernetes.client import V1ResourceAttributes

    missing = []
    for permission in wanted:
        name, _, subresource = permission.resource.partition("/")
        resource = {"group": permission.group, "resource": name, "subresource": subresource or None}
        access = {verb: V1ResourceAttributes(verb=verb, namespace=namespace, **resource) for verb in permission.verbs}
        if lacking := [verb for verb, attributes in access.items() if not allowed(attributes)]:
            group = f".{permission.group}" if permission.group else ""
            missing.append(f"{', '.join(lacking)} {permission.resource}{group} ({permission.purpose})")
    return missing
