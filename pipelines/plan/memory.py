"""Memory of one GPU, by formula: what training keeps on it, in bytes (issue 12).

The formulas are those of docs/scale.md; what they leave out (CUDA itself, fragments) is in RESERVE.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from pipelines.plan.shapes import Shape

if TYPE_CHECKING:
    from components.training.settings import TrainingSettings

RESERVE = 0.08  # of a GPU's memory: CUDA's context, NCCL's buffers, what the allocator cannot use
FP32, BF16 = 4, 2
ADAM = 2 * FP32  # two moments
LOGITS = 3 * FP32  # logits, their log-probabilities, their gradients
CACHED_TOKENS = 2 * 16384  # of the embedded engine: all sequences of a batch, and as many while it is laid out anew


@dataclass(frozen=True)
class Memory:
    """Bytes on one GPU while a model is trained."""

    weights: int
    gradients: int
    adam: int
    reference: int
    gathered: int
    activations: int

    @property
    def total(self) -> int:
        return sum(int(getattr(self, field.name)) for field in fields(self))


def is_sharded(settings: TrainingSettings, gpus: int) -> bool:
    """As components/training decides it on GPUs."""
    return settings.sharding != "none" and gpus > 1


def training_memory(shape: Shape, settings: TrainingSettings, gpus: int, pairs: bool) -> Memory:
    """Of each of `gpus` GPUs; `pairs` is DPO, which holds two texts of an example and a reference.

    LoRA's frozen weights are bf16, and its reference is the model without the adapter.
    """
    shards, lora = gpus if is_sharded(settings, gpus) else 1, settings.lora
    trained = shape.adapters(lora.rank) if lora else shape.parameters
    frozen = BF16 * shape.parameters if lora else 0
    return Memory(
        weights=(frozen + FP32 * trained) // shards,
        gradients=FP32 * trained // shards,
        adam=ADAM * trained // shards,
        reference=FP32 * shape.parameters // shards if pairs and not lora else 0,
        gathered=_gathered(shape, shards, frozen),
        activations=_activations(shape, settings.micro_batch_size * settings.max_length * (2 if pairs else 1)),
    )


def looking_memory(shape: Shape, settings: TrainingSettings, gpus: int) -> int:
    """Bytes on the GPU that answers and judges while DPO waits (`early_stop.by: answers`).

    Gradients and activations are gone by then. Served in bf16 are a copy of the policy where it is sharded, and then Mt
    as the judge; LoRA that is not sharded is served as it is, and without its adapter as the judge.
    """
    kept = training_memory(shape, settings, gpus, pairs=True)
    served = 0 if settings.lora and not is_sharded(settings, gpus) else BF16 * shape.parameters
    keys = 2 * BF16 * shape.layers * shape.hidden // shape.heads * shape.kv_heads  # and values, of a token
    return kept.weights + kept.adam + kept.reference + served + CACHED_TOKENS * keys


def _gathered(shape: Shape, shards: int, frozen: int) -> int:
    """The copies in bf16 that are computed with: of shards this layer, the next one and the embeddings."""
    if shards > 1:
        return BF16 * (shape.parameters - (shape.layers - 2) * shape.layer)
    return 0 if frozen else BF16 * shape.parameters


def _activations(shape: Shape, tokens: int) -> int:
    """With gradient checkpointing: every layer's input, one layer's inner values, and what the loss needs."""
    inner = 10 * shape.hidden + 4 * shape.intermediate
    return tokens * (BF16 * (shape.layers * shape.hidden + inner) + LOGITS * shape.vocabulary)
