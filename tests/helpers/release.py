"""The chart as a user installs it: with store and registry, in a namespace with rules that people meet: it enforces Pod
Security "restricted", has a quota and a LimitRange, and its pods have a user that no image knows, as on OpenShift."""

from __future__ import annotations

import base64
import json
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from components.kubernetes.client import Cluster, connect
from components.kubernetes.objects import selector
from pipelines.cluster.reach import from_here
from tests.helpers.chart import CHART, helm_program

VALUES = ("images.preloaded=true", "seaweedfs.enabled=true", "mlflow.enabled=true", "networkPolicy.enabled=true")
USER = 1_000_000_000 + secrets.randbelow(10**9)
USER_CONTEXT = {"runAsUser": USER, "runAsGroup": None, "fsGroup": USER}  # its group is 0
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}
HARD = {"requests.cpu": "4", "requests.memory": "16Gi", "limits.cpu": "48", "limits.memory": "256Gi"}
HARD |= {"requests.ephemeral-storage": "40Gi", "limits.ephemeral-storage": "300Gi"}
# A ratio alone: with a maximum Kubernetes would set amounts by itself where a container has none.
RATIO = {"type": "Container", "maxLimitRequestRatio": {"cpu": "20", "memory": "8", "ephemeral-storage": "8"}}


@dataclass(frozen=True)
class Release:
    """An installed chart; `environment` lets a program of this machine use its store and registry."""

    cluster: Cluster
    environment: dict[str, str]

    @property
    def namespace(self) -> str:
        return self.cluster.namespace


@contextmanager
def installed() -> Iterator[Release]:
    """Install the chart into a new namespace; both are gone afterwards."""
    cluster = connect(f"srlm-release-{secrets.token_hex(3)}")
    cluster.core.create_namespace({"metadata": {"name": cluster.namespace, "labels": RESTRICTED}})
    rules = {"metadata": {"name": "people"}}
    cluster.core.create_namespaced_resource_quota(cluster.namespace, {**rules, "spec": {"hard": HARD}})
    cluster.core.create_namespaced_limit_range(cluster.namespace, {**rules, "spec": {"limits": [RATIO]}})
    try:
        values = (*VALUES, *(f"podSecurityContext.{name}={json.dumps(one)}" for name, one in USER_CONTEXT.items()))
        helm("install", cluster.namespace, *(f"--set={value}" for value in values), "--wait", "--timeout=5m")
        with ExitStack() as stack:
            store = stack.enter_context(from_here(cluster, "http://srlm-store:8333"))
            registry = stack.enter_context(from_here(cluster, "http://srlm-mlflow:5000"))
            keys = cluster.core.read_namespaced_secret("srlm", cluster.namespace).data
            environment = {name: base64.b64decode(value).decode() for name, value in keys.items()}
            environment |= {"AWS_ENDPOINT_URL_S3": store, "AWS_REGION": "us-east-1", "SRLM_TRACKING_URI": registry}
            yield Release(cluster, environment)
    finally:
        cluster.core.delete_namespace(cluster.namespace)


def helm(verb: str, namespace: str, *arguments: str) -> str:
    """A verb on the release `srlm`; returns what Helm printed."""
    chart = [str(CHART)] if verb in ("install", "upgrade") else []
    command = [helm_program(), verb, "srlm", *chart, f"--namespace={namespace}", *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"
    return done.stdout


def kubectl(namespace: str, *arguments: str, given: str = "", check: bool = True) -> str:
    """What kubectl prints; `check`: it has to end well."""
    command = ["kubectl", f"--namespace={namespace}", *arguments]
    done = subprocess.run(command, input=given, capture_output=True, text=True)
    assert done.returncode == 0 or not check, f"{' '.join(command)}\n{done.stdout}{done.stderr}"
    return done.stdout


def srlm(*arguments: str) -> str:
    """What the command line prints."""
    done = subprocess.run([sys.executable, "-m", "pipelines.cli.main", *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def servers(cluster: Cluster, run: str, model: str = "") -> list[Any]:
    """The Deployments of a run's models."""
    chosen = selector("model-server", run, model)
    return list(cluster.apps.list_namespaced_deployment(cluster.namespace, label_selector=chosen).items)


def run_pods(cluster: Cluster, run: str) -> list[Any]:
    """The pods of a run's Job."""
    return list(cluster.core.list_namespaced_pod(cluster.namespace, label_selector=selector("run", run)).items)


def nothing_serves(cluster: Cluster, run: str) -> bool:
    """Whether no Deployment, Service or pod of a run's models is there."""
    chosen, namespace = selector("model-server", run), cluster.namespace
    services = cluster.core.list_namespaced_service(namespace, label_selector=chosen).items
    pods = cluster.core.list_namespaced_pod(namespace, label_selector=chosen).items
    return not (servers(cluster, run) or services or pods)


def job_of(cluster: Cluster, run: str) -> Any:
    return cluster.batch.read_namespaced_job(run, cluster.namespace)


def wait_for_end(cluster: Cluster, run: str, seconds: float) -> Any:
    """The Job when it has ended; its log so far is the message if it takes too long."""
    deadline = time.monotonic() + seconds
    while True:
        status = job_of(cluster, run).status
        if any(one.status == "True" and one.type in ("Complete", "Failed") for one in status.conditions or []):
            return status
        if time.monotonic() > deadline:
            raise AssertionError(kubectl(cluster.namespace, "logs", f"job/{run}", "--tail=60"))
        time.sleep(1)
