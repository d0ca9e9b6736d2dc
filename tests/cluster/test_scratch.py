"""A pod's scratch claim as a cluster makes it: of its size, for a user without rights, gone with the pod."""

from __future__ import annotations

import pytest

from components.kubernetes.client import Cluster, if_found
from components.kubernetes.pods import CONTAINER_SECURITY, POD_SECURITY, resources, scratch_volume, working_in
from components.kubernetes.settings import ClusterSettings, PodSettings, ScratchVolume
from tests.cluster.conftest import IMAGE
from tests.helpers.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.cluster]
WRITE = """import tempfile
from components.core.scratch import scratch_folder
with scratch_folder() as folder:
    print(folder, tempfile.gettempdir())
"""


def test_a_claim_of_a_pods_own(cluster: Cluster) -> None:
    settings, pod = ClusterSettings(scratch=ScratchVolume()), PodSettings(disk="64Mi", cpu="100m", memory="128Mi")
    container = {
        "name": "main",
        "image": IMAGE,
        "command": ["python3", "-c", WRITE],
        "env": working_in("/work"),
        "resources": resources(pod),
        "securityContext": CONTAINER_SECURITY,
        "volumeMounts": [{"name": "work", "mountPath": "/work"}],
    }
    spec = {"restartPolicy": "Never", "securityContext": POD_SECURITY, "containers": [container]}
    spec["volumes"] = [scratch_volume("work", pod, settings)]
    core, namespace = cluster.core, cluster.namespace
    core.create_namespaced_pod(namespace, {"metadata": {"name": "pod"}, "spec": spec})
    wait_until(lambda: core.read_namespaced_pod("pod", namespace).status.phase in ("Succeeded", "Failed"), 120)
    assert core.read_namespaced_pod_log("pod", namespace).split()[1] == "/work"
    claim = core.read_namespaced_persistent_volume_claim("pod-work", namespace)
    assert claim.spec.resources.requests == {"storage": "64Mi"}
    core.delete_namespaced_pod("pod", namespace)
    wait_until(lambda: if_found(core.read_namespaced_persistent_volume_claim, "pod-work", namespace) is None, 60)
