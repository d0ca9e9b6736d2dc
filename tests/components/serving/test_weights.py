"""Weights on their way to a server: the files that were asked for, under a path that is known before."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from components.core.stage import read_manifest
from components.serving import weights
from tests.helpers.registered_models import make_model, model_file


def fetch(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["weights", *arguments])
    weights.main()


def test_a_link_leads_to_the_files_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pod that is started again finds the link of its first start."""
    for content in ("one", "two"):
        uri = make_model(tmp_path / "store", content)
        fetch(monkeypatch, uri, read_manifest(uri).digest, str(tmp_path / "model"))
        assert (tmp_path / "model" / "model.safetensors").read_text() == content


def test_another_digest_than_the_registry_s_is_not_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    uri = make_model(tmp_path / "store", "one")
    with pytest.raises(SystemExit, match="2"):
        fetch(monkeypatch, uri, "d" * 64, str(tmp_path / "model"))
    assert f"was to have the digest {'d' * 64}, but has {read_manifest(uri).digest}" in capsys.readouterr().err
    assert not (tmp_path / "model").exists()


def test_a_manifest_that_names_other_files_under_the_old_digest_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever can write to the store can write a manifest, too; the digest is of what it names."""
    uri = make_model(tmp_path / "store", "one")
    digest = read_manifest(uri).digest
    path = next(Path(uri).glob("manifest.json"))
    written = json.loads(path.read_text())
    name = model_file(uri).relative_to(uri).as_posix()
    written["files"][name]["sha256"] = "0" * 64
    path.write_text(json.dumps(written))
    with pytest.raises(SystemExit, match="2"):
        fetch(monkeypatch, uri, digest, str(tmp_path / "model"))
    assert "manifest.json" in capsys.readouterr().err
