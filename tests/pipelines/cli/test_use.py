"""`srlm export` and `srlm chat`."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from components.base_model.base_model import import_model
from components.base_model.settings import BaseModelSettings
from components.core.model_files import model_folder
from components.core.store import join
from pipelines.cli.main import app
from tests.helpers.tiny_model import make_tiny_model

NOBODY = "http://127.0.0.1:9"


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The stage of a tiny model."""
    monkeypatch.setenv("SRLM_HOME", str(tmp_path / "home"))
    made = import_model(str(tmp_path / "store"), BaseModelSettings(base=str(make_tiny_model(tmp_path / "tiny"))))
    return join(str(tmp_path / "store"), made.stage, made.key)


def where(tmp_path: Path) -> list[str]:
    return ["--store", str(tmp_path / "store"), "--tracking-uri", NOBODY]


def test_an_exported_model_is_its_files_in_a_folder(model: str, tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "model"
    assert CliRunner().invoke(app, ["export", model, str(folder), *where(tmp_path)]).exit_code == 0
    content = {path.name: path.read_bytes() for path in model_folder(model).iterdir()}
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == content and "config.json" in content
    assert [path.name for path in folder.parent.iterdir()] == ["model"]
    again = CliRunner().invoke(app, ["export", model, str(folder), *where(tmp_path)])
    assert "is there already" in str(again.exception)


@pytest.mark.slow
def test_a_conversation_goes_on_until_an_empty_line(model: str, tmp_path: Path) -> None:
    """Greedy: the first question of a conversation is always answered the same, and so is the same conversation."""
    settings = ["--recipe", "demo", "--set", "sampling.temperature=0", "--set", "sampling.max_tokens=8"]
    lines = "Hello\nHello\n\nHello\nHello\n"
    told = CliRunner().invoke(app, ["chat", model, *settings, *where(tmp_path)], input=lines)
    assert told.exit_code == 0, told.output
    answers = [line for line in told.stdout.splitlines() if line.endswith("[length]")]
    assert len(answers) == 4 and answers[:2] == answers[2:]
    assert not list((tmp_path / "home" / "servers").rglob("*.json")), "its server is gone"
