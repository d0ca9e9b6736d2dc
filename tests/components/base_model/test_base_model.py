"""What a model must bring to start from: safetensors and a chat template."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from components.base_model import base_model
from components.base_model.base_model import import_model, load_tokenizer
from components.base_model.settings import BaseModelSettings
from components.core import claims
from components.core.errors import UserError
from components.core.store import open_store
from tests.helpers.tiny_model import CHAT_TEMPLATE, make_tiny_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SRLM_HOME", str(tmp_path / "home"))


def test_a_model_without_a_chat_template_is_refused_before_anything_is_trained(model: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    tokenizer = load_tokenizer(model)
    AutoModelForCausalLM.from_pretrained(model).save_pretrained(bare)
    tokenizer.chat_template = None
    tokenizer.save_pretrained(bare)
    with pytest.raises(UserError, match="no chat template"):
        import_model(str(tmp_path / "store"), BaseModelSettings(base=str(bare)))
    import_model(str(tmp_path / "store"), BaseModelSettings(base=str(bare), chat_template=CHAT_TEMPLATE))


def test_pickled_weights_are_refused(model: Path, tmp_path: Path) -> None:
    pickled = tmp_path / "pickled"
    pickled.mkdir()
    (pickled / "config.json").write_text((model / "config.json").read_text())
    torch.save({}, pickled / "pytorch_model.bin")
    with pytest.raises(UserError, match="safetensors"):
        import_model(str(tmp_path / "store"), BaseModelSettings(base=str(pickled)))


def test_a_base_model_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no folder"):
        import_model(str(tmp_path), BaseModelSettings(base="./nowhere"))


def test_two_runs_that_start_at_once_import_a_model_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The second waits for the first, says so, and reuses what it made (issue 14); nothing of the wait is left."""
    imported, begun = [], threading.Event()

    def slowly(*arguments: Any) -> Any:
        imported.append(arguments)
        begun.set()
        time.sleep(1)
        return copy(*arguments)

    copy = base_model._copy
    monkeypatch.setattr(base_model, "_copy", slowly)
    monkeypatch.setattr(claims, "POLL_S", 0.05)
    settings, store = BaseModelSettings(base=str(make_tiny_model(tmp_path / "model"))), str(tmp_path / "store")
    with ThreadPoolExecutor(2) as runs:
        first = runs.submit(import_model, store, settings)
        begun.wait(60)
        second = runs.submit(import_model, store, settings)
        assert first.result() == second.result()
    assert len(imported) == 1
    assert "waiting for another run, which imports" in capsys.readouterr().err
    assert not list((tmp_path / "store").rglob(claims.MAKER))


def test_who_imports_and_is_killed_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its mark stands still: after DEAD_S the next one makes what it did not."""
    monkeypatch.setattr(claims, "POLL_S", 0.01)
    monkeypatch.setattr(claims, "DEAD_S", 0.1)
    store = open_store(str(tmp_path / "stage"))
    store.create(claims.MAKER, b"killed")
    with claims.only_maker(store, lambda: False, "imports it"):
        assert store.read(claims.MAKER) not in (None, b"killed")
    assert store.read(claims.MAKER) is None
