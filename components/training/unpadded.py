"""Batches are read without their padding: all tokens in one row, where each text attends to itself alone.

Products are then made of tokens that count; of a step's examples, whose lengths spread widely, half may be padding.
Outside of the layers nothing changes: a batch goes in padded on the right, and hidden states come out so.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward

UNPADDED = "unpadded"
# Relative difference of hidden states to the model's own, by the precision of its weights. A token that attends to
# another text, or to none, makes them another: 0.1 and more.
TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 5e-2, torch.float16: 1e-2}
AMPERE, LARGEST_HEAD = (8, 0), 256  # the first GPUs that flash attention runs on, and what it knows of
NOT_KNOWN_HERE = ("softcap", "s_aux", "position_bias")  # what some architectures do to scores


@dataclass(frozen=True)
class Texts:
    """Where the tokens of a padded batch are. `mask`: [texts, longest], true where there is one."""

    mask: Tensor

    @cached_property
    def places(self) -> Tensor:
        """[tokens]: of each token in the batch laid out as one row."""
        return self.mask.flatten().nonzero().squeeze(1)

    @cached_property
    def lengths(self) -> list[int]:
        lengths: list[int] = self.mask.sum(dim=1).tolist()
        return lengths

    @cached_property
    def positions(self) -> Tensor:
        """[1, tokens]: each token's place in its text."""
        longest = self.mask.shape[1]
        return torch.arange(longest, device=self.mask.device).expand_as(self.mask).reshape(-1)[self.places][None]

    @cached_property
    def ends(self) -> Tensor:
        """[texts + 1]: 0, and where each text ends in the row."""
        lengths = self.mask.sum(dim=1, dtype=torch.int32)
        return torch.nn.functional.pad(lengths.cumsum(0, dtype=torch.int32), (1, 0))


def read_unpadded(model: PreTrainedModel) -> bool:
    """Make the model read batches without padding, unless that gives it other hidden states; whether it does.

    Not all do: those whose layers pass something on from one token to the next besides attention, or whose scores are
    not plain products.
    """
    if getattr(model.config.get_text_config(), "attention_chunk_size", None):
        return False
    own = model.config._attn_implementation
    before = _hidden_states(model)
    hooks = make_unpadded(model)
    try:
        difference = float((_hidden_states(model) - before).norm() / before.norm())
    except (NotImplementedError, TypeError, ValueError, KeyError, RuntimeError):  # layers that know no such row
        difference = float("inf")
    if difference < TOLERANCE.get(model.dtype, 0.0) and model.config._attn_implementation == UNPADDED:
        return True
    model.set_attn_implementation(own)
    for hook in hooks:
        hook.remove()
    return False


def make_unpadded(model: PreTrainedModel) -> tuple[Any, Any]:
    """As read_unpadded, without a look at what comes out; the handles of its hooks."""
    model.set_attn_implementation(UNPADDED)
    layers: Any = model.base_model
    return (
        layers.register_forward_pre_hook(_without_padding, with_kwargs=True),
        layers.register_forward_hook(_with_padding, with_kwargs=True),
    )


@torch.no_grad()
def _hidden_states(model: PreTrainedModel) -> Tensor:
    """[tokens, hidden] of two texts of different lengths."""
    was_training = model.training
    model.eval()
    vocabulary = model.config.get_text_config().vocab_size
    ids = torch.arange(1, 17, device=model.device).reshape(2, 8) * 7 % vocabulary
    mask = torch.ones_like(ids)
    mask[1, 5:] = 0
    hidden: Tensor = model.base_model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
    model.train(was_training)
    return hidden[mask.bool()].float()


def _without_padding(layers: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any] | None:
    """Before the layers: one row of tokens. Without a padded batch, or with attention of another's, nothing is done."""
    mask, ids = kwargs.get("attention_mask"), kwargs.get("input_ids")
    if layers.config._attn_implementation != UNPADDED or mask is None or ids is None:
        return None
    texts = Texts(mask.bool())
    row = {"input_ids": ids.flatten()[texts.places][None], "position_ids": texts.positions, "texts": texts}
    return args, {**kwargs, "attention_mask": None, **row}


def _with_padding(layers: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
    """After the layers: their hidden states where the batch has its tokens, and 0 elsewhere."""
    texts: Texts | None = kwargs.get("texts")
    if texts is not None:
        row = output.last_hidden_state[0]
        padded = row.new_zeros(texts.mask.numel(), row.shape[1]).index_copy(0, texts.places, row)
        output.last_hidden_state = padded.view(*texts.mask.shape, -1)
    return output


def _attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    texts: Texts | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Of [1, heads, tokens, size]: [1, tokens, heads, size], causal within each text."""
    if texts is None:
        found: tuple[Tensor, None] = sdpa_attention_forward(module, query, key, value, attention_mask, **options)
        return found
    if any(options.get(name) is not None for name in NOT_KNOWN_HERE):
        raise NotImplementedError(f"attention with {NOT_KNOWN_HERE}")
    query, key = query.to(value.dtype), key.to(value.dtype)  # rotary positions made them fp32 where values are bf16
    dropout, scaling, window = (options.get(name) for name in ("dropout", "scaling", "sliding_window"))
    if not dropout and _has_flash_attention(value):
        return _by_flash_attention(query, key, value, scaling, window, texts)[None], None
    grouped = query.shape[1] != key.shape[1]
    parts = zip(*(side.split(texts.lengths, dim=2) for side in (query, key, value)), strict=True)
    made = [
        scaled_dot_product_attention(q, k, v, **_hidden(q, window), dropout_p=dropout or 0.0, scale=scaling,
                                     enable_gqa=grouped)
        for q, k, v in parts
    ]  # fmt: skip
    return torch.cat(made, dim=2).transpose(1, 2), None


def _hidden(query: Tensor, sliding_window: int | None) -> dict[str, Any]:
    """What a token does not see: the tokens after it, and those out of its window."""
    length = query.shape[2]
    if sliding_window is None or sliding_window >= length:
        return {"is_causal": True}
    seen = torch.ones(length, length, dtype=torch.bool, device=query.device)
    return {"attn_mask": seen.tril() & seen.triu(1 - sliding_window)}


def _has_flash_attention(value: Tensor) -> bool:
    fits = value.dtype != torch.float32 and value.shape[-1] <= LARGEST_HEAD and value.shape[-1] % 8 == 0
    return value.is_cuda and fits and torch.cuda.get_device_capability(value.device) >= AMPERE


def _by_flash_attention(
    query: Tensor, key: Tensor, value: Tensor, scaling: float | None, sliding_window: int | None, texts: Texts
) -> Tensor:
    """All texts by one kernel, which knows no dropout: [tokens, heads, size]."""
    from torch.nn.attention.varlen import varlen_attn

    q, k, v = (side[0].transpose(0, 1) for side in (query, key, value))
    ends, longest = texts.ends, max(texts.lengths)
    window = (-1 if sliding_window is None else sliding_window - 1, 0)
    grouped = query.shape[1] != key.shape[1]
    made: Any = varlen_attn(
        q, k, v, ends, ends, longest, longest, scale=scaling, window_size=window, enable_gqa=grouped
    )
    return made  # type: ignore[no-any-return]


AttentionInterface.register(UNPADDED, _attention)
