"""What our pods ask for by default, before a namespace's LimitRange: its own admission judges, nothing is started."""

from __future__ import annotations

import pytest

from components.kubernetes.client import Cluster, ClusterError
from components.kubernetes.pods import resources
from components.kubernetes.settings import PodSettings, StepPods
from tests.cluster.conftest import IMAGE
from tests.helpers.waiting import wait_until

pytestmark = pytest.mark.cluster


def admitted(cluster: Cluster, pod: StepPods) -> bool:
    container = {"name": "main", "image": IMAGE, "resources": resources(pod)}
    body = {"metadata": {"name": "pod"}, "spec": {"containers": [container]}}
    try:
        cluster.core.create_namespaced_pod(cluster.namespace, body, dry_run="All")
    except ClusterError as error:
        if "limit to request ratio" not in str(error):
            raise
        return False
    return True


def test_a_narrow_ratio_admits_pods_with_gpus(cluster: Cluster) -> None:
    """Requests and limits both grow with the GPUs, so that the ratio stays at 4; steps must say their amounts."""
    ratio = {"type": "Container", "maxLimitRequestRatio": {"cpu": "4", "memory": "4"}}
    limits = {"metadata": {"name": "ratio"}, "spec": {"limits": [ratio]}}
    cluster.core.create_namespaced_limit_range(cluster.namespace, limits)
    wait_until(lambda: not admitted(cluster, StepPods()))  # the API server has seen the LimitRange
    for gpus in (1, 8):
        assert admitted(cluster, PodSettings(gpus=gpus, gpu_type="example.com/gpu"))
        assert not admitted(cluster, PodSettings(gpus=gpus, gpu_type="example.com/gpu", memory_limit=f"{65 * gpus}Gi"))
    assert admitted(cluster, StepPods(cpu="500m", memory="1Gi", cpu_limit="2", memory_limit="4Gi"))
