"""Batches without padding: the model's own hidden states, losses and gradients, in fewer tokens; or with padding."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    FalconConfig,
    Gemma2Config,
    Gemma3TextConfig,
    LlamaConfig,
    MambaConfig,
    MistralConfig,
    Phi3Config,
    PreTrainedModel,
    Qwen2Config,
    Qwen3Config,
)

from components.training.unpadded import UNPADDED, Texts, read_unpadded

SHAPE = {"vocab_size": 40, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "pad_token_id": 0}
SHAPE |= {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "initializer_range": 0.3}
ENDS: dict[str, Any] = {"bos_token_id": None, "eos_token_id": None}
# Three texts of 9, 4 and 7 tokens.
LENGTHS = (9, 4, 7)
MASK = (torch.arange(9) < torch.tensor(LENGTHS)[:, None]).long()
IDS = torch.randint(1, 40, (3, 9), generator=torch.Generator().manual_seed(1)) * MASK

THAT_DO = {
    "llama": LlamaConfig(**SHAPE, **ENDS),
    "qwen2": Qwen2Config(**SHAPE, **ENDS),
    "qwen3": Qwen3Config(**SHAPE, **ENDS),
    "phi3": Phi3Config(**SHAPE, **ENDS),
    "a window of 3 tokens": MistralConfig(**SHAPE, **ENDS, sliding_window=3),
    "a window in one layer of two": Gemma3TextConfig(
        **SHAPE, **ENDS, sliding_window=3, layer_types=["sliding_attention", "full_attention"]
    ),
}
THAT_DO_NOT = {
    "attention that is its own": FalconConfig(
        vocab_size=40, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, pad_token_id=0, **ENDS
    ),
    "scores that are capped": Gemma2Config(**SHAPE, **ENDS),
    "a state that goes on from token to token": MambaConfig(
        vocab_size=40, hidden_size=32, num_hidden_layers=2, state_size=4, pad_token_id=0, **ENDS
    ),
}


def model_of(config: Any) -> PreTrainedModel:
    torch.manual_seed(0)
    model: PreTrainedModel = AutoModelForCausalLM.from_config(deepcopy(config))
    return model.eval()


def loss_and_gradients(model: PreTrainedModel) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Of the texts' own tokens; padding has none."""
    model.zero_grad()
    logits = model(input_ids=IDS, attention_mask=MASK, use_cache=False).logits[MASK.bool()]
    loss = (logits * torch.linspace(-1, 1, logits.numel()).view_as(logits)).square().mean()
    loss.backward()
    return loss.detach(), {name: one.grad.clone() for name, one in model.named_parameters() if one.grad is not None}


@pytest.mark.parametrize("name", THAT_DO)
def test_loss_and_gradients_are_those_of_the_padded_batch(name: str) -> None:
    model = model_of(THAT_DO[name])
    loss, gradients = loss_and_gradients(model)
    assert read_unpadded(model)
    same, others = loss_and_gradients(model)
    torch.testing.assert_close(same, loss, atol=1e-5, rtol=1e-5)
    for parameter, gradient in gradients.items():
        torch.testing.assert_close(others[parameter], gradient, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("name", THAT_DO)
def test_the_layers_see_no_padding(name: str) -> None:
    """9 + 4 + 7 tokens in one row, where the batch has 27 places."""
    model, seen = model_of(THAT_DO[name]), []
    assert read_unpadded(model)
    model.base_model.layers[0].mlp.register_forward_pre_hook(lambda _, args: seen.append(tuple(args[0].shape)))
    hidden = model.base_model(input_ids=IDS, attention_mask=MASK, use_cache=False).last_hidden_state
    assert seen == [(1, 20, 32)]
    assert hidden.shape == (3, 9, 32)
    assert not hidden[MASK == 0].any()


@pytest.mark.parametrize("name", THAT_DO_NOT)
def test_a_model_that_it_would_change_keeps_its_padding(name: str) -> None:
    model = model_of(THAT_DO_NOT[name])
    before, _ = loss_and_gradients(model)
    implementation = model.config._attn_implementation
    assert not read_unpadded(model)
    assert model.config._attn_implementation == implementation
    after, _ = loss_and_gradients(model)
    assert after == before


def test_dropout_and_checkpointing_do_not_mind() -> None:
    """With attention's dropout two passes differ; without they are the same, computed again or not."""
    model = model_of(LlamaConfig(**SHAPE, **ENDS, attention_dropout=0.5))
    assert read_unpadded(model)
    _, kept = loss_and_gradients(model)
    model.train()
    model.gradient_checkpointing_enable()
    assert loss_and_gradients(model)[0] != loss_and_gradients(model)[0]
    for layer in model.base_model.layers:
        layer.self_attn.attention_dropout = 0.0
    _, again = loss_and_gradients(model)
    for parameter, gradient in kept.items():
        torch.testing.assert_close(again[parameter], gradient, atol=1e-5, rtol=1e-4)


def test_a_batch_without_a_mask_is_read_as_it_is() -> None:
    """As the model does it where it writes an answer token by token."""
    model = model_of(THAT_DO["llama"])
    plain = model(input_ids=IDS[:1]).logits
    assert read_unpadded(model) and model.config._attn_implementation == UNPADDED
    torch.testing.assert_close(model(input_ids=IDS[:1]).logits, plain, atol=1e-5, rtol=1e-5)


def test_where_the_tokens_are() -> None:
    """Of texts of 2 and 3 tokens in a batch of 3 columns: places 0, 1 and 3, 4, 5; positions begin anew."""
    texts = Texts(torch.tensor([[True, True, False], [True, True, True]]))
    assert texts.places.tolist() == [0, 1, 3, 4, 5]
    assert texts.positions.tolist() == [[0, 1, 0, 1, 2]]
    assert (texts.lengths, texts.ends.tolist()) == ([2, 3], [0, 2, 5])
