"""The plan's formulas, against what is known of models and against the arithmetic of docs/scale.md."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM

from components.kubernetes.settings import number
from components.training.dpo.settings import DpoSettings
from components.training.memory import training_memory
from components.training.settings import LoraSettings
from components.training.sft.settings import SftSettings
from components.training.shape import LLAMA_2_70B, LLAMA_3_8B, shape_of
from pipelines.plan.work import accumulation, trainings
from pipelines.recipe import load_recipe
from tests.helpers.tiny_model import make_tiny_model

WHOLE = SftSettings(micro_batch_size=1, max_length=4096)
PAIRS = DpoSettings(micro_batch_size=1, max_length=4096)
ADAPTERS = DpoSettings(micro_batch_size=1, max_length=4096, lora=LoraSettings(rank=64))


def test_parameters_are_those_of_the_published_models() -> None:
    """As their safetensors' headers count them on the hub."""
    assert (LLAMA_2_70B.parameters, LLAMA_3_8B.parameters) == (68_976_648_192, 8_030_261_248)


def test_a_folder_says_its_shape(tmp_path: Path) -> None:
    """Tied embeddings count once. Adapters of rank 4 on 7 matrices a layer."""
    folder = make_tiny_model(tmp_path)
    shape = shape_of(str(folder))
    assert shape
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert shape.parameters == sum(one.numel() for one in model.parameters())
    linear = [
        module for name, module in model.named_modules() if type(module).__name__ == "Linear" and "lm_head" not in name
    ]
    assert shape.adapters(4) == sum(4 * (one.in_features + one.out_features) for one in linear)


def test_all_weights_take_16_bytes_each_and_the_reference_4_more() -> None:
    """Of 70B on 16 GPUs: 4 + 4 + 8 bytes are 69 GB a GPU, the reference 17 GB."""
    memory = training_memory(LLAMA_2_70B, WHOLE, 16, pairs=False)
    assert memory.weights + memory.gradients + memory.adam == 16 * LLAMA_2_70B.parameters // 16
    assert memory.reference == 0
    assert training_memory(LLAMA_2_70B, PAIRS, 16, pairs=True).reference == LLAMA_2_70B.parameters // 4
    one = training_memory(LLAMA_2_70B, PAIRS.model_copy(update={"sharding": "none"}), 16, pairs=True)
    assert one.weights == 4 * LLAMA_2_70B.parameters


def test_adapters_are_all_that_lora_keeps_gradients_of() -> None:
    memory = training_memory(LLAMA_2_70B, ADAPTERS, 8, pairs=True)
    trained = LLAMA_2_70B.adapters(64)
    assert (memory.gradients, memory.adam, memory.reference) == (trained // 2, trained, 0)
    assert memory.weights == (2 * LLAMA_2_70B.parameters + 4 * trained) // 8


def test_activations_grow_with_tokens() -> None:
    """A pair holds two texts."""
    sft = training_memory(LLAMA_3_8B, WHOLE, 8, pairs=False).activations
    assert training_memory(LLAMA_3_8B, PAIRS, 8, pairs=True).activations == 2 * sft
    assert sft == 4096 * (2 * (32 * 4096 + 10 * 4096 + 4 * 14336) + 12 * 128256)


@pytest.mark.parametrize(
    ("quantity", "expected"),
    [("80Gi", 80 * 2**30), ("141G", 141e9), ("1.5Ti", 1.5 * 2**40), ("512", 512), ("4k", 4000)],
)
def test_quantities(quantity: str, expected: float) -> None:
    assert number(quantity) == expected


def test_steps_tokens_and_accumulation() -> None:
    """3,200 examples of 600 tokens in batches of 16, twice: 400 steps. World ends DPO by max_steps: 30 x 64 pairs."""
    sft = trainings(load_recipe("llama2-70b-paper"))[0]
    assert (sft.steps, sft.total_tokens, accumulation(sft.settings, 16)) == (400, 3200 * 600 * 2, 1)
    for overrides in (["data.ift=0"], ["sft.baseline=false"]):
        assert [one.name for one in trainings(load_recipe("llama3-8b", overrides))][:2] == ["M1", "M2"]
    last = trainings(load_recipe("world"))[-1]
    assert (last.name, last.steps, last.total_tokens) == ("M4", 30, 30 * 64 * 2 * 600)
