"""Models whose weights are spread over the ranks (FSDP2): the main process reads them, no other holds them all."""

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

from components.training.distributed import is_main_process


class ShardingTrainer(Trainer):
    """accelerate shards over GPUs only, and on CPUs falls back to DDP: there another kind of device is claimed."""

    def create_accelerator_and_postprocess(self) -> None:
        if self.args.fsdp and not torch.cuda.is_available():
            PartialState._shared_state["distributed_type"] = DistributedType.MULTI_XPU
        super().create_accelerator_and_postprocess()


def model_without_weights(folder: Path, dtype: torch.dtype, **config_options: Any) -> PreTrainedModel:
    """Its parameters are on the device "meta" and take no memory; its buffers, which no file holds, are real."""
    config = AutoConfig.from_pretrained(folder, trust_remote_code=False, **config_options)
    with init_empty_weights():
        model: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=dtype, trust_remote_code=False)
    model.tie_weights()
    return model


def with_untouched_memory(model: PreTrainedModel) -> PreTrainedModel:
    """Its parameters on the CPU, uninitialised: the system gives no memory to pages that are never written.

    accelerate tells parameters apart by their addresses, which those on "meta" do not have.
    """
    for module in model.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            setattr(
                module, name, torch.nn.Parameter(torch.empty_like(parameter, device="cpu"), parameter.requires_grad)
            )
    model.tie_weights()
    return model


def sharded_reference(empty: PreTrainedModel, load: Callable[[], PreTrainedModel]) -> PreTrainedModel:
    """`empty` with its layers and the rest sharded, and with the weights that the main process loads.

    TRL would give every rank the whole reference, and gather all of it at once on each GPU.
    """
    weights = load().state_dict() if is_main_process() else {}
    gpu = torch.cuda.is_available()
    precision = MixedPrecisionPolicy(torch.bfloat16, torch.bfloat16, torch.bfloat16) if gpu else MixedPrecisionPolicy()
    for module in list(empty.modules()):
        if type(module).__name__ in (empty._no_split_modules or []):
            fully_shard(module, mp_policy=precision)
    fully_shard(empty, mp_policy=precision)
    fsdp2_load_full_state_dict(SimpleNamespace(is_main_process=is_main_process()), empty, weights)
    empty.tie_weights()
    device = torch.device("cuda", torch.cuda.current_device()) if gpu else torch.device("cpu")
    return empty.to(device).eval()  # type: ignore[arg-type]
