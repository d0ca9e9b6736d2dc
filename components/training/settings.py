"""What SFT and DPO have in common."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from components.core.settings import Settings


class LoraSettings(Settings):
    """Low-rank adapters (Hu et al. 2021), merged into the weights after the stage."""

    rank: int = Field(16, ge=1, description="of the matrices that are added to each layer")
    alpha: int = Field(32, ge=1, description="their sum is scaled by alpha / rank")
    target_modules: str = Field("all-linear", description="the layers that get them, as peft names them")


class TrainingSettings(Settings):
    """Batch sizes count examples (SFT) or pairs (DPO); lengths count tokens."""

    # How a step is spread over devices and cut for their memory does not make it another model.
    non_key_fields: ClassVar[frozenset[str]] = frozenset({"sharding", "micro_batch_size", "gradient_checkpointing"})

    learning_rate: float = Field(gt=0, description="the highest, after the warmup")
    min_learning_rate: float = Field(ge=0, description="the floor that the schedule ends on")
    schedule: Literal["cosine", "linear"] = Field("cosine", description="how it falls to min_learning_rate")
    warmup: float = Field(0.0, ge=0, lt=1, description="share of the steps")
    epochs: float = Field(1.0, gt=0, description="times that each example is seen")
    max_steps: int | None = Field(None, ge=1, description="ends earlier than epochs would")
    batch_size: int = Field(16, ge=1, description="of one step, on all devices together")
    micro_batch_size: int | None = Field(
        None, ge=1, description="examples a device computes with at once; null: on GPUs what their memory holds, else 4"
    )
    max_length: int = Field(2048, ge=16, description="longer examples are dropped and counted, never cut")
    dropout: float = Field(0.1, ge=0, lt=1, description="in the model's own layers that have one, or in LoRA's")
    weight_decay: float = Field(0.0, ge=0, description="of the optimizer")
    max_grad_norm: float = Field(1.0, gt=0, description="longer gradients are scaled down to it")
    optimizer: str = Field("adamw_torch", description="as transformers' TrainingArguments call it (optim)")
    lora: LoraSettings | None = Field(None, description="null trains all weights")
    checkpoint_every: int = Field(50, ge=1, description="steps")
    precision: Literal["auto", "bf16", "fp32"] = Field(
        "auto",
        description="of the passes; weights, gradients and log-probabilities are fp32. auto: bf16 on GPUs, else fp32",
    )
    save_dtype: Literal["auto", "float32", "bfloat16"] = Field(
        "auto",
        description="of the weights that are handed over; bf16 loses a part of what small learning rates changed. "
        "auto: fp32 where they were trained in fp32; bf16 for LoRA in bf16, whose frozen weights are bf16",
    )
    sharding: Literal["auto", "none", "fsdp"] = Field(
        "auto", description="fsdp spreads weights over devices, none copies them to each; auto: fsdp on several GPUs"
    )
    gradient_checkpointing: bool | None = Field(
        None, description="compute activations again instead of keeping them; null: where memory does not hold enough"
    )
    seed: int = Field(0, description="of its draws; unset: the recipe's seed")

    @model_validator(mode="after")
    def _consistent(self) -> TrainingSettings:
        if self.min_learning_rate > self.learning_rate:
            raise ValueError(f"min_learning_rate {self.min_learning_rate} is above learning_rate {self.learning_rate}")
        return self
