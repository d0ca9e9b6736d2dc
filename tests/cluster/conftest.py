"""A namespace of its own on a real cluster, for tests that are marked `cluster`."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator

import pytest

from components.core import store as store_module
from components.core.images import WORKER
from components.kubernetes.client import Cluster, connect
from tests.helpers.release import Release, installed
from tests.helpers.waiting import wait_until

IMAGE = WORKER  # a Python that the nodes have


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """The cluster of SRLM_TEST_KUBECONFIG or KUBECONFIG, with a new namespace that enforces nothing."""
    config = os.environ.get("SRLM_TEST_KUBECONFIG") or os.environ.get("KUBECONFIG")
    if not config:
        pytest.skip("neither SRLM_TEST_KUBECONFIG nor KUBECONFIG names a cluster")
    monkeypatch.setenv("KUBECONFIG", config)
    made = connect(f"srlm-test-{secrets.token_hex(4)}")
    made.core.create_namespace({"metadata": {"name": made.namespace}})
    try:
        wait_until(lambda: bool(made.core.list_namespaced_service_account(made.namespace).items))
        yield made
    finally:
        made.core.delete_namespace(made.namespace)


@pytest.fixture(scope="session")
def release() -> Iterator[Release]:
    """The installed chart; the environment of this process lets it use the release's store."""
    config = os.environ.get("SRLM_TEST_KUBECONFIG") or os.environ.get("KUBECONFIG")
    if not config:
        pytest.skip("neither SRLM_TEST_KUBECONFIG nor KUBECONFIG names a cluster")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KUBECONFIG", config)
        with installed() as found:
            for name, value in found.environment.items():
                patch.setenv(name, value)
            store_module._s3.cache_clear()
            yield found
    store_module._s3.cache_clear()
