"""The adapter beside the merged weights: what a server that holds the weights it was trained on can load (issue 17).

A model's own adapter and those of the models before it are one: low-rank changes add up, and so do their ranks.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from components.core.model_files import ADAPTER

if TYPE_CHECKING:
    from peft import PeftModel

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"  # as PEFT and vLLM read them
DOWN, UP = ".lora_A.weight", ".lora_B.weight"


@dataclass(frozen=True)
class Adapter:
    """For each layer's name the matrices [rank, in] and [out, rank], whose product is added to its weights."""

    layers: dict[str, tuple[Tensor, Tensor]]

    @property
    def rank(self) -> int:
        return max(down.shape[0] for down, _ in self.layers.values())

    def and_then(self, later: Adapter) -> Adapter:
        """The sum of both, whose rank is the sum of theirs: [B1 B2] [A1; A2] = B1 A1 + B2 A2.

        A layer that only one of them changes has zeros in place of the other.
        """
        return Adapter(
            {
                name: (
                    torch.cat([_down(self, name, later), _down(later, name, self)], dim=0),
                    torch.cat([_up(self, name, later), _up(later, name, self)], dim=1),
                )
                for name in sorted(self.layers.keys() | later.layers.keys())
            }
        )


def save_adapter(model: PeftModel, start: Path, folder: Path) -> None:
    """Write what `model` changes of the weights that `start` itself is an adapter of, or of `start`, where it is none.

    In fp32, with alpha / rank in the matrices, so that adapters of several alphas add up.
    """
    adapter = _trained(model)
    if (start / ADAPTER).is_dir():
        adapter = _read(start / ADAPTER).and_then(adapter)
    target = folder / ADAPTER
    target.mkdir(parents=True)
    tensors: dict[str, Tensor] = {}
    for name, (down, up) in adapter.layers.items():
        tensors |= {name + DOWN: down.contiguous(), name + UP: up.contiguous()}
    save_file(tensors, target / WEIGHTS)
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": None,
        "inference_mode": True,
        "r": adapter.rank,
        "lora_alpha": adapter.rank,
        "target_modules": sorted({name.rpartition(".")[2] for name in adapter.layers}),
    }
    (target / CONFIG).write_text(json.dumps(config, indent=2) + "\n")


def _trained(model: PeftModel) -> Adapter:
    from peft import LoraConfig, get_peft_model_state_dict

    config = cast(LoraConfig, model.active_peft_config)
    scale = config.lora_alpha / config.r
    tensors = {name: tensor.detach().float().cpu() for name, tensor in get_peft_model_state_dict(model).items()}
    return _layers({name: scale * tensor if name.endswith(UP) else tensor for name, tensor in tensors.items()})


def _read(folder: Path) -> Adapter:
    return _layers(load_file(folder / WEIGHTS))


def _layers(tensors: dict[str, Tensor]) -> Adapter:
    names = sorted(name.removesuffix(DOWN) for name in tensors if name.endswith(DOWN))
    return Adapter({name: (tensors[name + DOWN], tensors[name + UP]) for name in names})


def _down(adapter: Adapter, name: str, other: Adapter) -> Tensor:
    if name in adapter.layers:
        return adapter.layers[name][0]
    return torch.zeros(adapter.rank, other.layers[name][0].shape[1])


def _up(adapter: Adapter, name: str, other: Adapter) -> Tensor:
    if name in adapter.layers:
        return adapter.layers[name][1]
    return torch.zeros(other.layers[name][1].shape[0], adapter.rank)
