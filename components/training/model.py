"""Load and save the models that are trained: safetensors only, no remote code."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch.distributed.fsdp import fully_shard
from transformers import AutoModelForCausalLM, GenerationConfig, PreTrainedModel, Trainer
from trl.trainer import dpo_trainer
from trl.trainer import utils as trl_utils

from components.core.ledger import spent
from components.training.distributed import broadcast, is_main_process, world_size
from components.training.settings import TrainingSettings
from components.training.sharded import model_without_weights, sharded_frozen, with_untouched_memory
from components.training.unpadded import UNPADDED, make_unpadded, read_unpadded

Model = PreTrainedModel | PeftModel
# cuDNN, which torch takes first on an H100, plans its attention anew for each length of a batch: of a step's 2.6 s, 2.0
# were spent on that (docs/gpu.md). Flash and memory-efficient attention need no plans.
torch.backends.cuda.enable_cudnn_sdp(False)
# On a CPU TRL projects every position of a batch onto the vocabulary, as it must where shapes that change are compiled
# anew; elsewhere the answers' alone, without prompts and padding. Nothing is compiled here.
trl_utils._use_triton = lambda device: True
# TRL names a cache of the reference's log-probabilities by a hash of all weights, one core's work of 10 s for a billion
# (docs/gpu.md). They are kept elsewhere (dpo/reference.py).
dpo_trainer.hash_module = lambda module: ""

_reads_unpadded: dict[str, bool] = {}  # by architecture: what this process saw where it had weights


def is_sharded(settings: TrainingSettings) -> bool:
    """Whether the weights are spread over the ranks (FSDP) instead of copied to each (DDP)."""
    fsdp = settings.sharding == "fsdp" or (settings.sharding == "auto" and torch.cuda.is_available())
    return fsdp and world_size() > 1


def in_bf16(settings: TrainingSettings) -> bool:
    """Whether passes are computed in bf16. Weights that are trained are fp32 either way."""
    return settings.precision == "bf16" or (settings.precision == "auto" and torch.cuda.is_available())


@spent("starting")
def load_policy(folder: Path, settings: TrainingSettings) -> PreTrainedModel:
    """The weights to train: fp32, but bf16 for the frozen ones under LoRA where passes are in bf16.

    Without LoRA, dropout is put on the attention weights of the policy; the reference of DPO never sees it, because it
    is asked with dropout off. Where weights are sharded the main process alone has them in its memory: the others get a
    model without, and their shards when training begins.
    """
    if not is_sharded(settings):
        return _load_weights(folder, settings)
    if is_main_process():
        model = _load_weights(folder, settings)
    else:
        model = with_untouched_memory(model_without_weights(folder, **_loading_options(settings)))
    return _reading_as_loaded(model)


@spent("starting")
def load_reference(folder: Path, settings: TrainingSettings, asked: bool) -> PreTrainedModel | None:
    """The reference of DPO where it is to be `asked` and the policy is sharded, and so answers nothing before training
    begins; elsewhere None, the untrained policy being the reference.

    Where all weights are trained, and sharded, TRL loads one that nobody asks unless it is given one: here without
    weights.
    """
    if not is_sharded(settings) or (settings.lora and not asked):
        return None
    if asked:
        return load_saved(folder, folder, settings)
    empty: PreTrainedModel = fully_shard(model_without_weights(folder, **_loading_options(settings)))  # type: ignore[assignment]
    return empty


@spent("starting")
def load_saved(folder: Path, start: Path, settings: TrainingSettings) -> PreTrainedModel | None:
    """The model that was saved in `folder` of the main process, frozen, as the next round will load it.

    Sharded where the policy is, and then `start` gives the other processes its shape; else whole in the main process,
    and None in the others.
    """
    if is_sharded(settings):
        empty = model_without_weights(start, **_loading_options(settings))
        return _reading_as_loaded(sharded_frozen(empty, lambda: _load_weights(folder, settings), in_bf16(settings)))
    return _load_weights(folder, settings) if is_main_process() else None


def _load_weights(folder: Path, settings: TrainingSettings) -> PreTrainedModel:
    """Of how the model samples the tokens that end an answer alone are kept: the rest is the recipe's matter, and where
    it is odd (a temperature without sampling) no checkpoint could be written.
    """
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
        folder, use_safetensors=True, trust_remote_code=False, **_loading_options(settings)
    )
    configured = model.generation_config
    model.generation_config = GenerationConfig(eos_token_id=configured.eos_token_id if configured else None)
    _reads_unpadded[model.config.model_type] = read_unpadded(model)
    return model


def _reading_as_loaded(model: PreTrainedModel) -> PreTrainedModel:
    """Every process's model reads batches as that one does whose weights the main process has looked at."""
    if broadcast(lambda: _reads_unpadded[model.config.model_type]) and model.config._attn_implementation != UNPADDED:
        make_unpadded(model)
    return model


def _loading_options(settings: TrainingSettings) -> dict[str, Any]:
    if settings.lora:
        return {"dtype": torch.bfloat16 if in_bf16(settings) else torch.float32}
    return {"dtype": torch.float32, "attention_dropout": settings.dropout}


def lora_config(settings: TrainingSettings) -> LoraConfig | None:
    """A fresh adapter: it starts as the identity, so the policy starts as the model that it was loaded from."""
    if settings.lora is None:
        return None
    return LoraConfig(
        r=settings.lora.rank,
        lora_alpha=settings.lora.alpha,
        lora_dropout=settings.dropout,
        target_modules=settings.lora.target_modules,
        task_type="CAUSAL_LM",
    )


def untrained_model(folder: Path, settings: TrainingSettings) -> Model:
    """The policy as training starts with it, whole, in this process alone: with an adapter where there will be one."""
    model, adapter = _load_weights(folder, settings), lora_config(settings)
    return get_peft_model(model, adapter) if adapter else model


def whole_model(trainer: Trainer, untrained: Callable[[], Model]) -> Model | None:
    """The trainer's model in the main process, None in the others; every process takes part.

    Sharded weights, which no process has all of, are gathered into the model that `untrained` makes.
    """
    if not trainer.is_fsdp_enabled:
        return trainer.accelerator.unwrap_model(trainer.model) if is_main_process() else None
    weights = trainer.accelerator.get_state_dict(trainer.model)
    if not is_main_process():
        return None
    model = untrained()
    model.load_state_dict(weights)
    return model


@contextmanager
def evaluating(model: torch.nn.Module) -> Iterator[None]:
    """Dropout off and no gradients for as long as the `with` lasts."""
    was_training = model.training
    model.eval()
    with torch.no_grad():
        yield
    model.train(was_training)
