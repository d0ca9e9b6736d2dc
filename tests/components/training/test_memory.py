"""What training keeps on a GPU, by the arithmetic of docs/scale.md, and what a GPU computes with at once by it."""

from __future__ import annotations

import pytest

from components.training.dpo.settings import DpoSettings
from components.training.memory import BUSY, RESERVE, MicroBatch, micro_batch, micro_batch_on_cpu, training_memory
from components.training.settings import LoraSettings
from components.training.sft.settings import SftSettings
from components.training.shape import LLAMA_2_70B, LLAMA_3_8B

WHOLE = SftSettings(max_length=4096)
PAIRS = DpoSettings(max_length=4096)
ADAPTERS = DpoSettings(max_length=4096, lora=LoraSettings(rank=64))
GB = 1e9


def test_all_weights_take_16_bytes_each() -> None:
    """Of 70B on 16 GPUs: 4 + 4 + 8 bytes are 69 GB a GPU, in DPO, too: its reference is gone by then."""
    for settings, pairs in ((WHOLE, False), (PAIRS, True)):
        memory = training_memory(LLAMA_2_70B, settings, 16, pairs)
        assert memory.weights + memory.gradients + memory.adam == 16 * LLAMA_2_70B.parameters // 16
    one = training_memory(LLAMA_2_70B, PAIRS.model_copy(update={"sharding": "none"}), 16, pairs=True)
    assert one.weights == 4 * LLAMA_2_70B.parameters


def test_adapters_are_all_that_lora_keeps_gradients_of() -> None:
    memory = training_memory(LLAMA_2_70B, ADAPTERS, 8, pairs=True)
    trained = LLAMA_2_70B.adapters(64)
    assert (memory.gradients, memory.adam) == (trained // 2, trained)
    assert memory.weights == (2 * LLAMA_2_70B.parameters + 4 * trained) // 8


def test_activations_are_kept_or_computed_again_layer_by_layer() -> None:
    """By hand, of 8B (32 layers of 4,096, inner width 14,336, 1,024 of keys): a token's inner values are 36 x 4,096 +
    4 x 1,024 + 8 x 14,336 = 266,240 bytes a layer; computed again, 4 x 4,096 a layer remain, and one layer's.
    A pair holds two texts; the head's gradient is there once."""
    kept = training_memory(LLAMA_3_8B, WHOLE, 8, False, MicroBatch(4096, 1, checkpointing=False)).activations
    again = training_memory(LLAMA_3_8B, WHOLE, 8, False, MicroBatch(4096, 1, checkpointing=True)).activations
    assert kept - again == 4096 * (31 * 266_240 - 32 * 4 * 4096)
    assert training_memory(LLAMA_3_8B, WHOLE, 8, pairs=False).activations == again
    assert training_memory(LLAMA_3_8B, PAIRS, 8, pairs=True).activations - again == 4096 * (32 * 4 * 4096 + 266_240)


def test_as_many_examples_as_memory_holds() -> None:
    """8B with LoRA on one GPU of 141 GB keeps the activations of a batch's 16 texts in part; what it says fits it."""
    settings = SftSettings(lora=LoraSettings())
    held = micro_batch(LLAMA_3_8B, settings, 1, False, 141 * GB)
    assert (held.examples, held.checkpointing) == (16, False)
    assert 2048 < held.tokens < 16 * 2048
    total = training_memory(LLAMA_3_8B, settings, 1, False, held).total
    assert 0.99 < total / ((1 - RESERVE) * 141 * GB) <= 1


def test_no_more_than_the_examples_of_a_step() -> None:
    """Of 1 GPU of 8, with a batch of 16: 2 texts of 2,048 tokens, or 2 pairs of them."""
    for settings, pairs in ((SftSettings(), False), (DpoSettings(), True)):
        held = micro_batch(LLAMA_3_8B, settings, 8, pairs, 1000 * GB)
        assert held == MicroBatch(2 * 2048 * (1 + pairs), 2, checkpointing=False)


def test_activations_are_computed_again_where_few_could_be_kept() -> None:
    """Where the activations of fewer than BUSY tokens fit, of those of one layer at a time many more do."""
    settings = SftSettings(lora=LoraSettings())
    held = micro_batch(LLAMA_3_8B, settings, 1, False, 48 * GB)
    assert held.checkpointing and held.tokens > BUSY
    kept = micro_batch(LLAMA_3_8B, settings.model_copy(update={"gradient_checkpointing": False}), 1, False, 48 * GB)
    assert not kept.checkpointing and kept.tokens < BUSY


@pytest.mark.parametrize("memory", [24 * GB, 1000 * GB])
def test_what_settings_say_is_kept_to(memory: float) -> None:
    """Also where it does not fit: whoever says it may know better than a sum."""
    settings = SftSettings(micro_batch_size=3, gradient_checkpointing=False)
    assert micro_batch(LLAMA_3_8B, settings, 1, False, memory) == MicroBatch(3 * 2048, 3, checkpointing=False)


def test_one_example_at_least_however_small_the_gpu() -> None:
    held = micro_batch(LLAMA_3_8B, PAIRS, 8, True, 8 * GB)
    assert held.tokens == 2 * 4096 and held.checkpointing


def test_a_cpu_takes_a_few_texts() -> None:
    assert micro_batch_on_cpu(SftSettings(), False) == MicroBatch(4 * 2048, 4, checkpointing=False)
    assert micro_batch_on_cpu(DpoSettings(), True) == MicroBatch(4 * 2048, 2, checkpointing=False)
    asked = DpoSettings(micro_batch_size=8, gradient_checkpointing=True)
    assert micro_batch_on_cpu(asked, True) == MicroBatch(16 * 2048, 8, checkpointing=True)
