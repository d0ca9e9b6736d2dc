"""MLflow behind a login and TLS of a private authority (issue 14): a real server, and what stands before it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from components.registry.client import RegistryError, check_tracking, registry
from tests.helpers.authority import signed_for
from tests.helpers.login import basic, behind_login

pytestmark = pytest.mark.slow
USER, PASSWORD = "runs", "planted-password-31"


@pytest.fixture
def address(tracking_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """With what an honest client has in its environment."""
    files = signed_for(tmp_path, "127.0.0.1")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(files.authority))
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", USER)
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", PASSWORD)
    with behind_login(tracking_uri, files.server, basic(USER, PASSWORD)) as url:
        yield url


def test_who_shows_the_login_and_knows_the_authority_gets_through(address: str, registered_name: str) -> None:
    check_tracking(address)
    with registry(address) as client:
        client.create_registered_model(registered_name)
        run = client.create_run(client.create_experiment(registered_name)).info.run_id
        client.log_metric(run, "win_rate", 0.6)
        assert client.get_run(run).data.metrics == {"win_rate": 0.6}
        assert client.get_registered_model(registered_name).name == registered_name


def test_who_has_no_login_is_told_how_to_have_one(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "wrong")
    with pytest.raises(RegistryError, match="401") as refused:
        check_tracking(address)
    assert "MLFLOW_TRACKING_USERNAME" in refused.value.remedy and "cluster.environment.secrets" in refused.value.remedy
    assert "wrong" not in f"{refused.value.problem}{refused.value.remedy}"


def test_who_does_not_know_the_authority_is_told_how_to(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    with pytest.raises(RegistryError, match="certificate") as refused:
        check_tracking(address)
    assert "REQUESTS_CA_BUNDLE" in refused.value.remedy and "cluster.environment.ca_bundle" in refused.value.remedy
