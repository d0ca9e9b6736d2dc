"""What cannot be served is refused when it is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from components.core.errors import UserError
from components.serving.embedded.model import loading
from components.serving.embedded.model.loading import load
from tests.helpers.tiny_model import make_tiny_model


def test_a_directory_without_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="safetensors"):
        load(tmp_path)


def test_a_model_that_is_no_language_model_is_refused(tmp_path: Path) -> None:
    make_tiny_model(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "no-such-thing"}')
    with pytest.raises(UserError, match="cannot be loaded"):
        load(tmp_path)


def test_a_configuration_is_checked_once_on_a_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another model of the same kind is served without; not one of another kind, or in another precision. A kind that
    was refused is refused again.
    """
    monkeypatch.setenv("SRLM_HOME", str(tmp_path / "home"))
    checked, answers = [], iter([0.0, 0.0, 0.0, 0.5, 0.5])

    def check(model: LlamaForCausalLM) -> float:
        checked.append((model.config.hidden_size, model.dtype))
        return next(answers)

    monkeypatch.setattr(loading, "_difference_to_plain_forward", check)
    first, second = make_tiny_model(tmp_path / "1", seed=1), make_tiny_model(tmp_path / "2", seed=2)
    for folder, dtype in ((first, "auto"), (second, "auto"), (first, "bfloat16"), (second, "bfloat16")):
        load(folder, dtype)
    small = LlamaForCausalLM(LlamaConfig(vocab_size=259, hidden_size=32, intermediate_size=64, num_hidden_layers=1))
    loading._require_supported(small)
    assert checked == [(64, torch.float32), (64, torch.bfloat16), (32, torch.float32)]
    for _ in range(2):
        with pytest.raises(UserError, match="gives other logits"):
            load(first, "float64")
    assert len(checked) == 5
