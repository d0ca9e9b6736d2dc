"""srlm doctor without a cluster: what it finds, and that it ends with 1 exactly where something is broken."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from components.core.errors import UserError
from components.core.store import DirectoryStore
from pipelines.cli.runs import commands
from pipelines.cluster.doctor import Doctor, try_store


@pytest.fixture
def no_cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("KF_PIPELINES_ENDPOINT", "SRLM_STORE", "SRLM_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "nosuch"))
    monkeypatch.setenv("SRLM_HOME", str(tmp_path))


def test_a_store_that_creates_once_is_fine_and_left_empty(tmp_path: Path) -> None:
    store = DirectoryStore(str(tmp_path))
    assert try_store(store).state == "ok"
    assert store.names() == []


class Overwriting(DirectoryStore):
    """As S3 servers that ignore If-None-Match."""

    def create(self, name: str, data: bytes) -> bool:
        self.write(name, data)
        return True


class Forgetful(DirectoryStore):
    def read(self, name: str) -> bytes | None:
        return None


def test_a_store_that_lets_a_second_writer_win_is_broken(tmp_path: Path) -> None:
    found = try_store(Overwriting(str(tmp_path)))
    assert found.state == "broken" and "If-None-Match" in found.text
    assert try_store(Forgetful(str(tmp_path))).state == "broken"


def test_without_a_cluster_it_looks_at_this_machine(no_cluster: None) -> None:
    found = list(Doctor().examine([]))
    assert {name for name, _ in found} == {"store", "registry", "kubeflow", "machine", "cluster"}
    assert ("cluster", "unknown") in {(name, one.state) for name, one in found}, "a local run needs none"


def test_what_is_asked_for_and_cannot_be_had_is_broken(no_cluster: None, tmp_path: Path) -> None:
    """An unreachable MLflow is broken where it is named, and no matter where it is not."""
    alone = CliRunner().invoke(commands, ["doctor", "--only", "registry,store", "--store", str(tmp_path)])
    named = CliRunner().invoke(commands, ["doctor", "--only", "registry", "--tracking-uri", "http://127.0.0.1:9"])
    asked = CliRunner().invoke(commands, ["doctor", "--only", "cluster"])
    assert (alone.exit_code, named.exit_code, asked.exit_code) == (0, 1, 1)
    assert "BROKEN registry" in named.stdout and "BROKEN cluster" in asked.stdout


def test_an_unknown_check_is_refused_with_the_names(no_cluster: None) -> None:
    with pytest.raises(UserError, match="machine"):
        list(Doctor().examine(["nosuch"]))
