"""What a kubeconfig alone tells of a cluster's servers; tests/cluster reaches real ones through kubectl."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from components.core.errors import UserError
from components.kubernetes.client import connect
from pipelines.cluster.reach import from_here, store_of_runs
from pipelines.cluster.submission import with_addresses_of_chart
from pipelines.recipe import load_recipe
from tests.helpers.scripted_cluster import serving

NAMED = {"SRLM_STORE": "s3://srlm/artifacts", "SRLM_TRACKING_URI": "http://srlm-mlflow:5000"}


class Api:
    """A namespace `runs` with one Service and the chart's config map."""

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        found = {
            "/api/v1/namespaces/runs/services/srlm-store": {"metadata": {"name": "srlm-store"}},
            "/api/v1/namespaces/runs/configmaps/srlm": {
                "data": {**NAMED, "AWS_ENDPOINT_URL_S3": "http://srlm-store:8333"}
            },
        }
        return (200, found[path]) if path in found else (404, {"message": "not found"})


@pytest.fixture(autouse=True)
def _cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("SRLM_STORE", "AWS_ENDPOINT_URL_S3", "AWS_ACCESS_KEY_ID"):
        monkeypatch.delenv(name, raising=False)
    with serving(Api(), tmp_path / "kubeconfig", monkeypatch):
        yield


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:9000", "http://localhost:9000", "https://s3.example.com", "http://minio:9000"]
)
def test_an_address_that_is_no_service_is_used_as_it_is(url: str) -> None:
    """minio: a name that this machine's own network may know."""
    with from_here(connect(), url) as here:
        assert here == url


@pytest.mark.parametrize("host", ["srlm-store", "srlm-store.runs", "srlm-store.runs.svc.cluster.local"])
def test_a_service_needs_kubectl(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nosuch")
    refused = pytest.raises(UserError, match="srlm-store in runs can only be reached from within")
    with refused as missing, from_here(connect(), f"http://{host}:8333"):
        pass
    assert "Install kubectl" in missing.value.remedy


def test_what_the_environment_says_of_the_store_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then nothing is forwarded, and no secret is read."""
    monkeypatch.setenv("PATH", "/nosuch")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9000")
    recipe = load_recipe("demo")
    with store_of_runs(connect(), recipe.cluster) as store:
        assert store == NAMED["SRLM_STORE"]


def test_a_submission_takes_from_the_config_map_what_nobody_names() -> None:
    found = with_addresses_of_chart(load_recipe("demo"), "", {"store": "", "tracking_uri": "http://mine", "run": "toy"})
    assert found == {"store": NAMED["SRLM_STORE"], "tracking_uri": "http://mine", "run": "toy"}
    elsewhere = with_addresses_of_chart(load_recipe("demo"), "other", {"store": "", "tracking_uri": ""})
    assert elsewhere == {"store": "", "tracking_uri": ""}
