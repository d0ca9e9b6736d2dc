"""Models whose weights are spread over the ranks (FSDP2): the first rank reads them, no other holds them all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from accelerate import DistributedType, PartialState, init_empty_weights
from accelerate.utils.fsdp_utils import fsdp2_load_full_state_dict
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel, Trainer

from components.training import ranks


class ShardingTrainer(Trainer):
    """accelerate shards over GPUs only, and on CPUs takes DDP without a word: there it is told of another device."""

    def create_accelerator_and_postprocess(self) -> None:
        if self.args.fsdp and not torch.cuda.is_available():
            PartialState._shared_state["distributed_type"] = DistributedType.MULTI_XPU
        super().create_accelerator_and_postprocess()


def model_without_weights(folder: Path, dtype: torch.dtype, options: dict[str, Any]) -> PreTrainedModel:
    """Its parameters are on the device "meta" and take no memory; its buffers, which no file holds, are there."""
    config = AutoConfig.from_pretrained(folder, trust_remote_code=False, **options)
    with init_empty_weights():
        model: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=dtype, trust_remote_code=False)
    model.tie_weights()
    return model


def with_untouched_memory(model: PreTrainedModel) -> PreTrainedModel:
    """Parameters on the CPU that are never written, for which the system keeps no memory.

    accelerate tells parameters apart by their addresses, which those on "meta" have not.
    """
    for module in model.modules():
        for name, one in list(module.named_parameters(recurse=False)):
            setattr(module, name, torch.nn.Parameter(torch.empty_like(one, device="cpu"), one.requires_grad))
    model.tie_weights()
    return model


def sharded_reference(empty: PreTrainedModel, load: Callable[[], PreTrainedModel]) -> PreTrainedModel:
    """`empty` with its layers and the rest sharded, and with the weights that the first rank loads.

    TRL would give every rank the whole reference, and gather all of it at once on each GPU.
    """
    weights = load().state_dict() if ranks.is_first() else {}
    gpu = torch.cuda.is_available()
    precision = MixedPrecisionPolicy(torch.bfloat16, torch.bfloat16, torch.bfloat16) if gpu else MixedPrecisionPolicy()
    for module in list(empty.modules()):
        if type(module).__name__ in (empty._no_split_modules or []):
            fully_shard(module, mp_policy=precision)
    fully_shard(empty, mp_policy=precision)
    fsdp2_load_full_state_dict(SimpleNamespace(is_main_process=ranks.is_first()), empty, weights)
    empty.tie_weights()
    device = torch.device("cuda", torch.cuda.current_device()) if gpu else torch.device("cpu")
    return empty.to(device).eval()  # type: ignore[arg-type]
