"""The trained weights as one plain model folder, and how much of the training is left in it.

A small learning rate changes many weights by less than half a step of bf16: rounded to it they are what they were.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from peft import PeftModel
from safetensors import safe_open
from torch import Tensor
from transformers import PreTrainedModel, Trainer

from components.base_model.portable import keep_description
from components.core.errors import UserError
from components.core.ledger import spent
from components.training.adapter import save_adapter
from components.training.distributed import barrier
from components.training.model import Model, in_bf16, whole_model
from components.training.settings import TrainingSettings


@dataclass(frozen=True)
class SavedModel:
    """A model folder on the main process's disk and, in that process, the share of the training that it retains.

    The share is that of the sum of all weights' changes (absolute values): 1 less the sum of what rounding altered over
    the sum of what training altered, and 0 where rounding altered more. Without a change it is undefined and absent.
    """

    folder: Path
    metrics: dict[str, float]


def handed_over_dtype(settings: TrainingSettings) -> torch.dtype:
    """What the weights are saved in; they are served in what `serving.dtype` says, whatever that is."""
    if settings.save_dtype == "auto":
        return torch.bfloat16 if settings.lora and in_bf16(settings) else torch.float32
    return torch.bfloat16 if settings.save_dtype == "bfloat16" else torch.float32


def save_trained(
    trainer: Trainer, untrained: Callable[[], Model], start: Path, settings: TrainingSettings, folder: Path
) -> SavedModel:
    """Every process takes part, the main one writes, from the trainer's own model where that is whole.

    `untrained` makes the model that sharded weights are put into, `start` is the folder that training started from.
    Raises UserError where a weight is not finite.
    """
    model, metrics = whole_model(trainer, untrained), {}
    if model is not None:
        _require_finite_weights(model, trainer.state.global_step)
        metrics = save_model(model, folder, start, handed_over_dtype(settings))
    barrier()
    return SavedModel(folder, metrics)


def _require_finite_weights(model: Model, step: int) -> None:
    wrong = [name for name, weight in model.named_parameters() if not bool(torch.isfinite(weight).all())]
    if wrong:
        raise UserError(
            f"{len(wrong)} weights are not finite after step {step}, {wrong[0]} the first; nothing was published",
            "Lower learning_rate or max_grad_norm of the stage, or lengthen its warmup.",
        )


@torch.no_grad()
@spent("storing")
def save_model(model: Model, folder: Path, start: Path, dtype: torch.dtype) -> dict[str, float]:
    """Merge an adapter into the weights and write them, with the other files of `start`, and the adapter beside them;
    returns what is retained of training.
    """
    if isinstance(model, PeftModel):
        save_adapter(model, start, folder)
    whole = merged(model)
    retained = retained_change(whole, start, dtype)
    whole.config.attention_dropout = 0.0
    whole.config.use_cache = True
    whole.to(dtype=dtype)  # type: ignore[call-arg]
    whole.save_pretrained(folder, safe_serialization=True)
    keep_description(start, folder, str(dtype).removeprefix("torch."))
    return retained


@torch.no_grad()
def merged(model: Model) -> PreTrainedModel:
    """The model itself, its adapter merged into its weights: in fp32, on the CPU.

    There is room for fp32 there: the device still holds what else training needs.
    """
    model.to(device="cpu", dtype=torch.float32)  # type: ignore[call-arg]
    whole: PreTrainedModel = model.merge_and_unload() if isinstance(model, PeftModel) else model
    return whole


@torch.no_grad()
def retained_change(model: PreTrainedModel, start: Path, dtype: torch.dtype) -> dict[str, float]:
    """The share of the changes since `start` that is left in `dtype`; see SavedModel."""
    changed = lost = 0.0
    before = _weights(start, model.base_model_prefix)
    for name, weight in model.named_parameters():
        if (was := before(name)) is not None:
            changed += float((weight - was).abs().sum(dtype=torch.float64))
            lost += float((weight - weight.to(dtype).float()).abs().sum(dtype=torch.float64))
    return {"retained_change": max(0.0, 1.0 - lost / changed)} if changed else {}


def _weights(folder: Path, prefix: str) -> Callable[[str], Tensor | None]:
    """A model folder's weights by name, one at a time, in fp32; None for what its files call otherwise."""
    files = {name: path for path in sorted(folder.glob("*.safetensors")) for name in _names(path)}

    def read(name: str) -> Tensor | None:
        known = name if name in files else name.removeprefix(f"{prefix}.")
        if known not in files:
            return None
        with safe_open(files[known], framework="pt") as tensors:
            weight: Tensor = tensors.get_tensor(known)
        return weight.float()

    return read


def _names(path: Path) -> Iterator[str]:
    with safe_open(path, framework="pt") as tensors:
        yield from tensors.keys()
