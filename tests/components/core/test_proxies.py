"""Who is asked without the environment's proxies: this machine, and in a pod the cluster's own services."""

from __future__ import annotations

import os

import pytest

from components.core.proxies import ask_directly

OURS = "localhost,127.0.0.1,::1"


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("no_proxy", "NO_PROXY", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.setenv(name, "")


@pytest.mark.parametrize(
    ("before", "urls", "after"),
    [
        ("", (), OURS),
        ("mine.test, .corp", ("",), f"mine.test,.corp,{OURS}"),
        ("localhost", ("http://127.0.0.1:8333",), "localhost,127.0.0.1,::1"),
        ("", ("http://127.0.0.2:1", "http://[::1]:1"), f"{OURS},127.0.0.2"),
        ("", ("https://s3.example.com", "http://store:8333", "http://10.0.0.1"), OURS),  # outside a cluster not ours
        ("*", ("http://127.0.0.1",), "*"),
    ],
)
def test_on_a_machine(before: str, urls: tuple[str, ...], after: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", before)
    for _ in range(2):
        ask_directly(*urls)
        assert os.environ["NO_PROXY"] == os.environ.get("no_proxy", "") or before == "*"
        assert os.environ["NO_PROXY"] == after


@pytest.mark.parametrize(
    ("url", "near"),
    [
        ("http://srlm-store:8333", "srlm-store"),
        ("http://srlm-mlflow.runs.svc:5000", "srlm-mlflow.runs.svc"),
        ("http://a.runs.svc.cluster.local", "a.runs.svc.cluster.local"),
        ("https://10.96.0.1:443", "10.96.0.1"),
        ("https://s3.example.com", ""),
        ("http://10.96.0.2", ""),
    ],
)
def test_in_a_pod(url: str, near: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1")
    ask_directly(url)
    assert os.environ["no_proxy"] == (f"{OURS},{near}" if near else OURS)


def test_what_a_user_wrote_in_lower_case_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """As curl and Python's libraries have it."""
    monkeypatch.setenv("no_proxy", "one.test")
    monkeypatch.setenv("NO_PROXY", "other.test")
    ask_directly()
    assert os.environ["NO_PROXY"] == os.environ["no_proxy"] == f"one.test,{OURS}"
