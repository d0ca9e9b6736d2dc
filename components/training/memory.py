"""Memory of one GPU, by formula: what training keeps on it, in bytes (issue 12).

The formulas are those of docs/scale.md; what they leave out (CUDA itself, fragments) is in RESERVE.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

from components.training.shape import Shape

if TYPE_CHECKING:
    from components.training.settings import TrainingSettings

RESERVE = 0.08  # of a GPU's memory: CUDA's context, NCCL's buffers, what the allocator cannot use
FP32, BF16 = 4, 2
ADAM = 2 * FP32  # two moments
CACHED_TOKENS = 2 * 16384  # of the embedded engine: all sequences of a batch, and as many while it is laid out anew
# TRL computes log-probabilities in tiles of 4,096 tokens by 32,768 words: one forward, one with its gradient
TILES = 2 * BF16 * 4096 * 32768
# Texts that a CPU computes with at once: more are no faster there, and take memory.
TEXTS_ON_CPU = 4
# Below so many tokens at once a GPU waits for its next kernel, and computing activations again is cheaper than that.
BUSY = 4096


@dataclass(frozen=True)
class Memory:
    """Bytes on one GPU while a model is trained."""

    weights: int
    gradients: int
    adam: int
    gathered: int
    activations: int

    @property
    def total(self) -> int:
        return sum(int(getattr(self, field.name)) for field in fields(self))


def is_sharded(settings: TrainingSettings, gpus: int) -> bool:
    """As components/training decides it on GPUs."""
    return settings.sharding != "none" and gpus > 1


@dataclass(frozen=True)
class MicroBatch:
    """What a device computes with at once: at most so many tokens, of both sides of pairs together, and examples.

    Activations are kept for the backward pass, or with `checkpointing` computed again in it, layer by layer.
    """

    tokens: int
    examples: int
    checkpointing: bool


def micro_batch(shape: Shape, settings: TrainingSettings, gpus: int, pairs: bool, gpu_memory: float) -> MicroBatch:
    """As large as memory allows, in bytes of each of `gpus` GPUs, and with activations kept where that leaves a GPU
    enough to do; at least the longest example. `settings` that say it are kept to.
    """
    longest, examples = settings.max_length * (2 if pairs else 1), max(1, settings.batch_size // gpus)
    if settings.micro_batch_size:
        examples = min(examples, settings.micro_batch_size)
    whole, asked = longest * examples, settings.gradient_checkpointing
    for checkpointing in (False, True) if asked is None else (asked,):
        made = MicroBatch(longest, examples, checkpointing)
        room = (1 - RESERVE) * gpu_memory - training_memory(shape, settings, gpus, pairs, replace(made, tokens=0)).total
        tokens = min(whole, int(room / _activations(shape, replace(made, tokens=1))))
        if tokens >= (whole if settings.micro_batch_size else min(whole, max(longest, BUSY))):
            return replace(made, tokens=tokens)
    return replace(made, tokens=whole if settings.micro_batch_size else max(longest, tokens))


def micro_batch_on_cpu(settings: TrainingSettings, pairs: bool) -> MicroBatch:
    """A few texts, whose activations are kept."""
    sides = 2 if pairs else 1
    examples = settings.micro_batch_size or TEXTS_ON_CPU // sides
    return MicroBatch(examples * sides * settings.max_length, examples, settings.gradient_checkpointing is True)


def training_memory(
    shape: Shape, settings: TrainingSettings, gpus: int, pairs: bool, held: MicroBatch | None = None
) -> Memory:
    """Of each of `gpus` GPUs; `pairs` is DPO, which holds two texts of an example. Its reference is gone when training
    begins. Without `held` it is the least that training takes: one example at once, or what `settings` say.

    LoRA's frozen weights are bf16.
    """
    shards, lora = gpus if is_sharded(settings, gpus) else 1, settings.lora
    trained = shape.adapters(lora.rank) if lora else shape.parameters
    frozen = BF16 * shape.parameters if lora else 0
    held = held or least_micro_batch(settings, pairs)
    head = 0 if lora else FP32 * shape.vocabulary * shape.hidden  # its gradient is added up in fp32, tile by tile
    return Memory(
        weights=(frozen + FP32 * trained) // shards,
        gradients=FP32 * trained // shards,
        adam=ADAM * trained // shards,
        gathered=_gathered(shape, shards, frozen),
        activations=_activations(shape, held) + head + TILES,
    )


def least_micro_batch(settings: TrainingSettings, pairs: bool) -> MicroBatch:
    """One example at once, or what `settings` say."""
    examples = settings.micro_batch_size or 1
    tokens = examples * settings.max_length * (2 if pairs else 1)
    return MicroBatch(tokens, examples, checkpointing=settings.gradient_checkpointing is not False)


def looking_memory(shape: Shape, settings: TrainingSettings, gpus: int) -> int:
    """Bytes on the GPU that answers and judges while DPO waits (`early_stop.by: answers`).

    Gradients and activations are gone by then. Served in bf16 are a copy of the policy where it is sharded, and then Mt
    as the judge; LoRA that is not sharded is served as it is, and without its adapter as the judge.
    """
    kept = training_memory(shape, settings, gpus, pairs=True)
    served = 0 if settings.lora and not is_sharded(settings, gpus) else BF16 * shape.parameters
    keys = 2 * BF16 * shape.layers * shape.hidden // shape.heads * shape.kv_heads  # and values, of a token
    return kept.weights + kept.adam + served + CACHED_TOKENS * keys


def _gathered(shape: Shape, shards: int, frozen: int) -> int:
    """The copies in bf16 that are computed with: of shards this layer, the next one and the embeddings."""
    if shards > 1:
        return BF16 * (shape.parameters - (shape.layers - 2) * shape.layer)
    return 0 if frozen else BF16 * shape.parameters


def _activations(shape: Shape, held: MicroBatch) -> int:
    """In bytes: of each token a layer's inner values, its width in fp32 and bf16 some nine times, keys and values, and
    four of the feed-forward layer's; as seen on GPUs (docs/gpu.md). With gradient checkpointing every layer's input is
    kept, and one layer's inner values.
    """
    keys = shape.hidden // shape.heads * shape.kv_heads
    inner = 36 * shape.hidden + 4 * keys + 8 * shape.intermediate
    layers = FP32 * shape.layers * shape.hidden + inner if held.checkpointing else shape.layers * inner
    return held.tokens * layers
