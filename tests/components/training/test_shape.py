"""How large a model is: against what is known of published models and of a folder's own weights."""

from __future__ import annotations

from pathlib import Path

from transformers import AutoModelForCausalLM

from components.training.shape import LLAMA_2_70B, LLAMA_3_8B, shape_of
from tests.helpers.tiny_model import make_tiny_model


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
