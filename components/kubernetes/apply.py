"""Server-side apply: makes what is missing, changes what differs, and two that do it at once do not collide."""

from __future__ import annotations

from typing import Any

from components.kubernetes.client import Cluster

FIELD_MANAGER = "srlm"
PATHS = {"Service": "/api/v1/namespaces/{}/services/{}", "Deployment": "/apis/apps/v1/namespaces/{}/deployments/{}"}


def apply(cluster: Cluster, manifest: dict[str, Any]) -> None:
    """Bring an object into the state of its manifest; the client's typed calls cannot name this kind of patch."""
    path = PATHS[manifest["kind"]].format(cluster.namespace, manifest["metadata"]["name"])
    cluster.api.call_api(
        path,
        "PATCH",
        query_params=[("fieldManager", FIELD_MANAGER), ("force", "true")],
        header_params={"Content-Type": "application/apply-patch+yaml", "Accept": "application/json"},
        body=manifest,
        auth_settings=["BearerToken"],
        response_type="object",
    )
