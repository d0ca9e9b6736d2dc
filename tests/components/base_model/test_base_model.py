"""What a model must bring to start from: safetensors and a chat template."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from components.base_model.base_model import import_model, load_tokenizer
from components.base_model.settings import BaseModelSettings
from components.core.errors import UserError
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
