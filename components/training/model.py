"""Load and save the models that are trained: safetensors only, no remote code."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase, Trainer

from components.core.errors import UserError
from components.training import ranks
from components.training.settings import TrainingSettings
from components.training.sharded import model_without_weights, sharded_reference, with_untouched_memory

Model = PreTrainedModel | PeftModel


def on_gpu() -> bool:
    return torch.cuda.is_available()


def is_sharded(settings: TrainingSettings) -> bool:
    """Whether the weights are spread over the ranks (FSDP) instead of copied to each (DDP)."""
    wanted = settings.sharding == "fsdp" or (settings.sharding == "auto" and on_gpu())
    return wanted and ranks.world_size() > 1


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer with its chat template; raises UserError without one."""
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    if tokenizer.chat_template is None:
        raise UserError(
            f"the model in {folder} has no chat template",
            "Name an instruct model in model.base, or a Jinja chat template's file in model.chat_template.",
        )
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_policy(folder: Path, settings: TrainingSettings) -> PreTrainedModel:
    """The weights to train: fp32, but bf16 for the frozen ones under LoRA on a GPU (on CPUs bf16 is slower).

    Without LoRA, dropout is put on the attention weights of the policy; the reference of DPO never sees it, because it
    is asked with dropout off. Where weights are sharded the first rank alone has them in its memory: the others get a
    model without, and their shards when training begins.
    """
    if is_sharded(settings) and not ranks.is_first():
        return with_untouched_memory(model_without_weights(folder, *_kind(settings)))
    return _with_weights(folder, settings)


def load_reference(folder: Path, settings: TrainingSettings) -> PreTrainedModel | None:
    """The reference of DPO where the policy is sharded; None where TRL needs none (LoRA) or makes it (DDP)."""
    if settings.lora or not is_sharded(settings):
        return None
    empty = model_without_weights(folder, *_kind(settings))
    return sharded_reference(empty, lambda: _with_weights(folder, settings))


def _kind(settings: TrainingSettings) -> tuple[torch.dtype, dict[str, Any]]:
    dtype = torch.bfloat16 if on_gpu() and settings.lora else torch.float32
    return dtype, {} if settings.lora else {"attention_dropout": settings.dropout}


def _with_weights(folder: Path, settings: TrainingSettings) -> PreTrainedModel:
    dtype, options = _kind(settings)
    return AutoModelForCausalLM.from_pretrained(
        folder, dtype=dtype, use_safetensors=True, trust_remote_code=False, **options
    )


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
    """The policy as training starts with it: with an adapter where there will be one."""
    model, adapter = load_policy(folder, settings), lora_config(settings)
    return get_peft_model(model, adapter) if adapter else model


def whole_model(trainer: Trainer, untrained: Callable[[], Model]) -> Model | None:
    """The trainer's model in the first rank, None in the others; every rank takes part.

    Sharded weights, which no rank has all of, are gathered into what `untrained` makes.
    """
    if not trainer.is_fsdp_enabled:
        return trainer.accelerator.unwrap_model(trainer.model) if ranks.is_first() else None
    weights = trainer.accelerator.get_state_dict(trainer.model)
    if not ranks.is_first():
        return None
    model = untrained()
    model.load_state_dict(weights)
    return model


def save_model(model: Model, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Merge an adapter into the weights and write model and tokenizer as one plain model folder."""
    merged = model.merge_and_unload() if isinstance(model, PeftModel) else model
    merged.config.attention_dropout = 0.0
    merged.config.use_cache = True
    if on_gpu():
        merged = merged.to(dtype=torch.bfloat16)  # type: ignore[call-arg]
    merged.save_pretrained(folder, safe_serialization=True)
    tokenizer.save_pretrained(folder)


@contextmanager
def evaluating(model: torch.nn.Module) -> Iterator[None]:
    """Dropout off and no gradients, then back to what it was."""
    was_training = model.training
    model.eval()
    with torch.no_grad():
        yield
    model.train(was_training)
