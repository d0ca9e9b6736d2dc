"""The mark of tests that want a real cluster."""

from __future__ import annotations

import pytest


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "cluster: needs a real Kubernetes (SRLM_TEST_KUBECONFIG or KUBECONFIG)")
