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

# Parameters are gathered in bf16, gradients reduced in fp32. A layer hands bf16 to the next; what the model returns,
# log-probabilities, is fp32: accelerate's own policy rounds them to bf16, and sums of them to multiples of 1, 2 or 4.
LAYERS_IN_BF16 = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
MODEL_IN_BF16 = MixedPrecisionPolicy(torch.bfloat16, reduce_dtype=torch.float32, output_dtype=torch.float32)


class ShardingTrainer(Trainer):
    """accelerate shards over GPUs only, and on CPUs falls back to DDP: there another kind of device is claimed.

    accelerate has one policy for layers and model, and makes what the model returns fp32 by itself.
    """

    def create_accelerator_and_postprocess(self) -> None:
        if self.args.fsdp and not torch.cuda.is_available():
            PartialState._shared_state["distributed_type"] = DistributedType.MULTI_XPU
        if self.args.fsdp_plugin_args and self.args.bf16:
            self.args.fsdp_plugin_args["mixed_precision_policy"] = LAYERS_IN_BF16
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


def sharded_frozen(empty: PreTrainedModel, load: Callable[[], PreTrainedModel], bf16: bool) -> PreTrainedModel:
    """`empty` with its layers and the rest sharded, and with the weights that the main process loads.

    TRL would give every rank the whole reference, and gather all of it at once on each GPU. In `bf16` it rounds as the
    policy does, so that the two start equal.
    """
    weights = load().state_dict() if is_main_process() else {}
    gpu = torch.cuda.is_available()
    of_layers, of_model = (LAYERS_IN_BF16, MODEL_IN_BF16) if bf16 else (MixedPrecisionPolicy(), MixedPrecisionPolicy())
    for module in list(empty.modules()):
        if type(module).__name__ in (empty._no_split_modules or []):
            fully_shard(module, mp_policy=of_layers)
    fully_shard(empty, mp_policy=of_model)
    fsdp2_load_full_state_dict(SimpleNamespace(is_main_process=is_main_process()), empty, weights)
    empty.tie_weights()
    device = torch.device("cuda", torch.cuda.current_device()) if gpu else torch.device("cpu")
    return empty.to(device).eval()  # type: ignore[arg-type]
