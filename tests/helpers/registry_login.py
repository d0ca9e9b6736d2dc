"""The release's MLflow once more, behind a login and TLS of a private authority: what a run needs to pass both, in the
objects that a recipe names."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from components.core.images import WORKER
from components.kubernetes import objects
from components.kubernetes.client import Cluster
from components.kubernetes.pods import CONTAINER_SECURITY, POD_SECURITY
from tests.helpers import login
from tests.helpers.authority import signed_for
from tests.helpers.waiting import wait_until

NAME, PORT = "registry-login", 8443
USER, PASSWORD = "runs", "planted-registry-password"
FILES: dict[str, Any] = {"metadata": {"name": "authorities"}}
AMOUNTS = {"cpu": "100m", "memory": "128Mi", "ephemeral-storage": "64Mi"}


def registry_behind_login(cluster: Cluster, user: int) -> list[str]:
    """Start it; gives what `srlm manifests` has to be told. `user`: whose number its pod has.

    The config map of these runs is the chart's with another registry, so that the release's other users keep theirs.
    """
    core, space = cluster.core, cluster.namespace
    with tempfile.TemporaryDirectory() as folder:
        files = signed_for(Path(folder), NAME)
        authority, certificate = files.authority.read_text(), files.server.read_text()
    program = Path(login.__file__).read_text()
    named: dict[str, Any] = {"metadata": {"name": NAME}}
    places = core.read_namespaced_config_map("srlm", space).data | {"SRLM_TRACKING_URI": f"https://{NAME}:{PORT}"}
    core.create_namespaced_config_map(space, named | {"data": places})
    core.create_namespaced_config_map(space, FILES | {"data": {"login.py": program, "ca.crt": authority}})
    shown = {"MLFLOW_TRACKING_USERNAME": USER, "MLFLOW_TRACKING_PASSWORD": PASSWORD}
    core.create_namespaced_secret(space, named | {"stringData": shown | {"server.pem": certificate}})
    ports = [{"port": PORT, "targetPort": PORT}]
    core.create_namespaced_service(space, named | {"spec": {"selector": {"app": NAME}, "ports": ports}})
    core.create_namespaced_pod(space, _pod(user))
    wait_until(lambda: _ready(core.read_namespaced_pod(NAME, space)))
    environment = {"secrets": {NAME: list(shown)}, "ca_bundle": {"config_map": "authorities", "file": "ca.crt"}}
    return [f"--set=cluster.config_map={NAME}", f"--set=cluster.environment={json.dumps(environment)}"]


def _pod(user: int) -> dict[str, Any]:
    header, value = login.basic(USER, PASSWORD)
    command = ["python3", "/app/login.py", str(PORT), "/app/server.pem", "http://srlm-mlflow:5000", header, value]
    container = {
        "name": "login",
        "image": WORKER,
        "imagePullPolicy": "IfNotPresent",
        "command": command,
        "resources": {"requests": AMOUNTS, "limits": AMOUNTS},
        "securityContext": CONTAINER_SECURITY,
        "readinessProbe": {"tcpSocket": {"port": PORT}},
        "volumeMounts": [{"name": "app", "mountPath": "/app"}],
    }
    sources = [{"configMap": FILES["metadata"]}, {"secret": {"name": NAME}}]
    spec = {"securityContext": POD_SECURITY | {"runAsUser": user}, "containers": [container]}
    spec["volumes"] = [{"name": "app", "projected": {"sources": sources}}]
    return {"metadata": {"name": NAME, "labels": {"app": NAME, objects.NAME: objects.APPLICATION}}, "spec": spec}


def _ready(pod: Any) -> bool:
    return any(one.ready for one in pod.status.container_statuses or [])
