"""Users that the cluster gives, as OpenShift's restricted-v2 does: no image knows them; their group is 0 (issue 14)."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from components.core import store as store_module
from tests.cluster.test_vllm import TINY
from tests.helpers.release import Release, helm, installed, kubectl, nothing_serves, srlm, wait_for_end
from tests.helpers.small_world import store_small_world

pytestmark = [pytest.mark.slow, pytest.mark.cluster]
RUN = "by-anyone"
USER = 1_000_000_000 + secrets.randbelow(10**9)
CONTEXT = {"runAsUser": USER, "runAsGroup": None, "fsGroup": USER}
LONGEST_RUN = 1500  # seconds


@pytest.fixture(scope="module")
def anyones() -> Iterator[Release]:
    """The chart whose pods have that user."""
    config = os.environ.get("SRLM_TEST_KUBECONFIG") or os.environ.get("KUBECONFIG")
    if not config:
        pytest.skip("neither SRLM_TEST_KUBECONFIG nor KUBECONFIG names a cluster")
    values = (f"podSecurityContext.{name}={json.dumps(value)}" for name, value in CONTEXT.items())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KUBECONFIG", config)
        with installed(*values) as release:
            for name, value in release.environment.items():
                patch.setenv(name, value)
            store_module._s3.cache_clear()
            yield release
    store_module._s3.cache_clear()


def test_store_and_registry_and_a_whole_run(anyones: Release, tmp_path: Path) -> None:
    """M1 to M2: the Job trains, its servers answer; every pod of the namespace had that user, and none of ours did."""
    helm("test", anyones.namespace)
    recipe = store_small_world(tmp_path, "s3://srlm/world")
    shape = {"spec": {"securityContext": CONTEXT}}
    settings = [*TINY[:-1], f"cluster.pods={json.dumps({'job': shape, 'server': shape})}"]
    manifests = srlm("manifests", str(recipe), "--runner=job", f"--run={RUN}", *(f"--set={one}" for one in settings))
    kubectl(anyones.namespace, "create", "-f", "-", given=manifests)
    status = wait_for_end(anyones.cluster, RUN, LONGEST_RUN)
    assert status.succeeded == 1, kubectl(anyones.namespace, "logs", f"job/{RUN}", "--tail=60")
    pods = anyones.cluster.core.list_namespaced_pod(anyones.namespace).items
    users = {(pod.spec.security_context.run_as_user, pod.spec.security_context.run_as_group) for pod in pods}
    assert users == {(USER, None)}
    assert nothing_serves(anyones.cluster, RUN)
