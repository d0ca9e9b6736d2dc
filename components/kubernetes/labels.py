"""The labels of everything that a run makes on Kubernetes: by them it is found, followed and removed."""

from __future__ import annotations

APPLICATION = "self-rewarding"
NAME, MANAGER, COMPONENT = "app.kubernetes.io/name", "app.kubernetes.io/managed-by", "app.kubernetes.io/component"
# Where Istio injects its proxy (the profiles of Kubeflow), init containers have no network and Jobs do not end.
NO_SIDECAR = {"sidecar.istio.io/inject": "false"}
QUEUE = "kueue.x-k8s.io/queue-name"  # Kueue's, of its local queue
KEEP = {"cluster-autoscaler.kubernetes.io/safe-to-evict": "false"}  # annotation: moving the pod would lose its work
RUN, MODEL = "self-rewarding-pipelines/run", "self-rewarding-pipelines/model"


def labels(component: str, run: str, model: str = "") -> dict[str, str]:
    """Of an object of a run; `component` is run, model-server, training or submission."""
    common = {NAME: APPLICATION, MANAGER: "srlm", COMPONENT: component, RUN: run}
    return {**common, MODEL: model} if model else common


def selector(component: str = "", run: str = "", model: str = "") -> str:
    """A label selector for the objects that `labels` describes; what is empty is any."""
    wanted = {MANAGER: "srlm", COMPONENT: component, RUN: run, MODEL: model}
    return ",".join(f"{name}={value}" for name, value in wanted.items() if value)
