"""The adapter beside the merged weights is what they differ by from the model that the rounds began with."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from components.core.errors import UserError
from components.core.model_files import ADAPTER, adapter_folder, base_of, model_folder
from components.training.adapter import Adapter
from components.training.dpo.dpo import DpoInputs, train_dpo
from components.training.settings import LoraSettings
from components.training.sft.sft import fine_tune
from tests.components.training.test_training import base, dpo_settings, seeds, sft_settings, toy_pairs, uri
from tests.helpers.tiny_model import make_tiny_model

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SRLM_HOME", str(tmp_path / "home"))


def adapted(start: Path, adapter: Path) -> torch.Tensor:
    """Logits of 40 tokens, by the weights of `start` with the adapter, as PEFT computes them; [40, 259]."""
    return logits(PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(start), adapter))


@torch.no_grad()
def logits(model: torch.nn.Module) -> torch.Tensor:
    return model.eval()(torch.arange(40)[None]).logits[0]


def test_after_two_trainings_it_holds_both(tmp_path: Path) -> None:
    """SFT of rank 3 and DPO of rank 4, of another scale, on some layers alone: rank 7, and in fp32 the same logits but
    for rounding, which for logits of some 10 is 1e-5. The trainings change them by far more."""
    root = str(tmp_path / "store")
    start = base(root, make_tiny_model(tmp_path / "model"))
    sft = sft_settings(max_steps=3, lora=LoraSettings(rank=3, alpha=12))
    m1 = uri(root, fine_tune(root, sft, start, seeds(root)))
    some = LoraSettings(rank=4, alpha=8, target_modules=r".*q_proj")
    m2 = uri(root, train_dpo(root, dpo_settings(max_steps=3, lora=some), DpoInputs(m1, toy_pairs(root))))
    assert base_of(m2) == base_of(m1) == base_of(start) == start
    before = logits(AutoModelForCausalLM.from_pretrained(model_folder(start)))
    for model, rank in ((m1, 3), (m2, 7)):
        merged = logits(AutoModelForCausalLM.from_pretrained(model_folder(model)))
        ours = adapted(model_folder(start), adapter_folder(model))
        assert (merged - ours).abs().max() < 1e-4 < 0.01 < (merged - before).abs().max()
        tensors = load_file(adapter_folder(model) / "adapter_model.safetensors")
        assert {tensor.shape[0] for name, tensor in tensors.items() if "lora_A" in name} == {rank}
    assert not (adapter_folder(m2) / "README.md").exists()


def test_a_model_whose_weights_were_all_trained_is_a_base(tmp_path: Path) -> None:
    root = str(tmp_path / "store")
    start = base(root, make_tiny_model(tmp_path / "model"))
    lora = sft_settings(max_steps=1, lora=LoraSettings(rank=3))
    m1 = uri(root, fine_tune(root, lora, start, seeds(root)))
    full = uri(root, train_dpo(root, dpo_settings(max_steps=1, lora=None), DpoInputs(m1, toy_pairs(root))))
    assert base_of(full) == full and not (model_folder(full) / ADAPTER).exists()
    with pytest.raises(UserError, match="was not trained by LoRA"):
        adapter_folder(full)


def test_sums_of_adapters_are_adapters_of_sums() -> None:
    """Each of rank 2 on a layer [5, 3], one on another layer, too: B A of the sum is the sum of each B A."""
    torch.manual_seed(0)
    one = Adapter({"a": (torch.rand(2, 3), torch.rand(5, 2)), "b": (torch.rand(2, 4), torch.rand(6, 2))})
    other = Adapter({"a": (torch.rand(2, 3), torch.rand(5, 2))})
    both = one.and_then(other)
    assert both.rank == 4
    for name in "ab":
        parts = [up @ down for down, up in (each.layers[name] for each in (one, other) if name in each.layers)]
        down, up = both.layers[name]
        assert torch.allclose(up @ down, sum(parts), atol=1e-6)
