"""The model's forward passes, with attention over a prefix that all sequences share.

The shared keys exist once, whatever the size of the batch: their scores are one dense product instead of one per
sequence, and memory does not grow with the batch. The result is ordinary softmax attention over [shared][own]
(Juravsky et al. 2024, "Hydragen", without its log-sum-exp merge, because a decode step's scores are small).
Nothing else knows how `transformers` is called.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, PreTrainedModel

from components.serving.embedded.model.kv_cache import DecodeCache, Layers, PrefillCache
from components.serving.embedded.model.metrics import Metrics
from components.serving.embedded.model.prefix import Prefix

ATTENTION = "shared_prefix"


class Forward:
    """Reads prompts and makes next-token logits; counts both. Switches the model to shared-prefix attention."""

    def __init__(self, model: PreTrainedModel, metrics: Metrics) -> None:
        self._model = model
        self._metrics = metrics
        self.device = model.device
        model.set_attn_implementation(ATTENTION)
        # One token tells the shapes of any architecture's keys; none of them is kept.
        probe = self._prefill([(0,)], Prefix((), []))
        self.empty_prefix = Prefix((), [(k[0, :, :0], v[0, :, :0]) for k, v in probe])

    @property
    def bytes_per_token(self) -> int:
        """Of a token's keys and values in all layers."""
        sides = [side for layer in self.empty_prefix.layers for side in layer]
        return sum(side.shape[0] * side.shape[2] * side.element_size() for side in sides)

    def prefill(self, tokens: Sequence[tuple[int, ...]], prefix: Prefix) -> Layers:
        """Keys and values of `tokens`, each following the prefix: for each layer [batch, kv_heads, longest, head_dim].

        Shorter ones are padded on the right; what lies beyond their end must stay hidden.
        """
        if not max(map(len, tokens)):
            batch = len(tokens)
            return [(k.expand(batch, *k.shape), v.expand(batch, *v.shape)) for k, v in self.empty_prefix.layers]
        self._metrics.prefill_tokens += sum(map(len, tokens))
        return self._prefill(tokens, prefix)

    @torch.inference_mode()
    def _prefill(self, tokens: Sequence[tuple[int, ...]], prefix: Prefix) -> Layers:
        longest = max(map(len, tokens))
        padded = [[*prompt, *[0] * (longest - len(prompt))] for prompt in tokens]
        positions = torch.arange(longest, device=self.device) + len(prefix)
        causal = torch.ones(longest, longest, dtype=torch.bool, device=self.device).tril()
        cache = PrefillCache()
        # The base model alone: nobody needs logits here, decoding starts from the last prompt token.
        self._model.base_model(
            input_ids=torch.tensor(padded, device=self.device),
            position_ids=positions.expand(len(tokens), -1),
            attention_mask=causal[None, None],
            past_key_values=cache,
            use_cache=True,
            shared_layers=prefix.layers if prefix else None,
        )
        self._metrics.forward_passes += 1
        return cache.collected

    @torch.inference_mode()
    def next_logits(self, tokens: list[int], positions: list[int], prefix: Prefix, cache: DecodeCache) -> Tensor:
        """Logits [batch, vocabulary] after each sequence's newest token, whose keys and values go into the cache."""
        output = own_forward(
            self._model,
            input_ids=torch.tensor(tokens, device=self.device)[:, None],
            position_ids=torch.tensor(positions, device=self.device)[:, None],
            attention_mask=cache.begin_step(self.device),
            past_key_values=cache,
            use_cache=True,
            shared_layers=prefix.layers if prefix else None,
        )
        self._metrics.forward_passes += 1
        return output.logits[:, -1]


def own_forward(model: PreTrainedModel, **inputs: Any) -> Any:
    """The forward pass of the model's class: a training in bf16 has put another around that of the instance, and its
    keys would be bf16 among those of the prompts, which are as the weights are."""
    return type(model).forward(model, **inputs)


def shared_prefix_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor,
    scaling: float | None = None,
    shared_layers: list[tuple[Tensor, Tensor]] | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attend each sequence's queries to the shared keys and to its own.

    query: [batch, heads, length, head_dim]; key, value: [batch, kv_heads, columns, head_dim] (the sequences' own).
    attention_mask: bool [batch or 1, 1, length, columns], true where a query may see an own key.
    shared_layers: for each layer keys and values [kv_heads, shared, head_dim]; every query sees all of them.
    Returns [batch, length, heads, head_dim], as `transformers` expects, and no weights.
    """
    batch, heads, length, head_dim = query.shape
    kv_heads, group = key.shape[1], heads // key.shape[1]
    scale = head_dim**-0.5 if scaling is None else scaling
    # The heads of one group become further queries of their kv head: no copy of the keys per head.
    grouped = (query * scale).reshape(batch, kv_heads, group * length, head_dim)
    scores = (grouped @ key.transpose(2, 3)).view(batch, kv_heads, group, length, -1)
    scores = scores.masked_fill(~attention_mask[:, :, None], float("-inf")).view(batch, kv_heads, group * length, -1)
    if shared_layers is None:
        mixed = _softmax(scores) @ value
    else:
        mixed = _attend_both(grouped, scores, value, *shared_layers[module.layer_idx])  # type: ignore[index]
    return mixed.reshape(batch, heads, length, -1).transpose(1, 2), None


def _attend_both(
    grouped: Tensor, own_scores: Tensor, value: Tensor, shared_key: Tensor, shared_value: Tensor
) -> Tensor:
    """One softmax over shared and own keys; the shared products run over the queries of the whole batch at once.

    grouped: [batch, kv_heads, queries, head_dim]; own_scores: [batch, kv_heads, queries, columns].
    """
    batch, kv_heads, queries, head_dim = grouped.shape
    shared = shared_key.shape[1]
    stacked = grouped.transpose(0, 1).reshape(kv_heads, batch * queries, head_dim)
    shared_scores = (stacked @ shared_key.transpose(1, 2)).view(kv_heads, batch, queries, shared).transpose(0, 1)
    weights = _softmax(torch.cat([shared_scores, own_scores], dim=-1))
    stacked_weights = weights[..., :shared].transpose(0, 1).reshape(kv_heads, batch * queries, shared)
    from_shared = (stacked_weights @ shared_value).view(kv_heads, batch, queries, -1).transpose(0, 1)
    return from_shared + weights[..., shared:] @ value


def _softmax(scores: Tensor) -> Tensor:
    return scores.softmax(dim=-1, dtype=torch.float32).to(scores.dtype)


AttentionInterface.register(ATTENTION, shared_prefix_attention)
