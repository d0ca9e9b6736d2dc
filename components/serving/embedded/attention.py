"""Attention over two sets of keys: those of the prefix that all rows share, and each row's own.

The shared keys exist once, whatever the number of rows: their scores are one dense product instead of one per row, and
memory does not grow with the batch. The result is ordinary softmax attention over [shared][own]
(Juravsky et al. 2024, "Hydragen", without its log-sum-exp merge, because a decode step's scores are small).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface

IMPLEMENTATION = "shared_prefix"


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
    """Attend each row's queries to the shared keys and to its own.

    query: [rows, heads, length, head_dim]; key, value: [rows, kv_heads, columns, head_dim] (the rows' own).
    attention_mask: bool [rows or 1, 1, length, columns], true where a query may look at an own key.
    shared_layers: for each layer keys and values [kv_heads, shared, head_dim]; every query sees all of them.
    Returns [rows, length, heads, head_dim], as `transformers` expects, and no weights.
    """
    rows, heads, length, head_dim = query.shape
    kv_heads, group = key.shape[1], heads // key.shape[1]
    scale = head_dim**-0.5 if scaling is None else scaling
    # The heads of one group become further queries of their kv head: no copy of the keys per head.
    grouped = (query * scale).reshape(rows, kv_heads, group * length, head_dim)
    scores = (grouped @ key.transpose(2, 3)).view(rows, kv_heads, group, length, -1)
    scores = scores.masked_fill(~attention_mask[:, :, None], float("-inf")).view(rows, kv_heads, group * length, -1)
    if shared_layers is None:
        mixed = _softmax(scores) @ value
    else:
        mixed = _attend_both(grouped, scores, value, *shared_layers[module.layer_idx])  # type: ignore[index]
    return mixed.reshape(rows, heads, length, -1).transpose(1, 2), None


def _attend_both(
    grouped: Tensor, own_scores: Tensor, value: Tensor, shared_key: Tensor, shared_value: Tensor
) -> Tensor:
    rows, kv_heads, queries, head_dim = grouped.shape
    shared = shared_key.shape[1]
    stacked = grouped.transpose(0, 1).reshape(kv_heads, rows * queries, head_dim)
    shared_scores = (stacked @ shared_key.transpose(1, 2)).view(kv_heads, rows, queries, shared).transpose(0, 1)
    weights = _softmax(torch.cat([shared_scores, own_scores], dim=-1))
    stacked_weights = weights[..., :shared].transpose(0, 1).reshape(kv_heads, rows * queries, shared)
    from_shared = (stacked_weights @ shared_value).view(kv_heads, rows, queries, -1).transpose(0, 1)
    return from_shared + weights[..., shared:] @ value


def _softmax(scores: Tensor) -> Tensor:
    return scores.softmax(dim=-1, dtype=torch.float32).to(scores.dtype)


AttentionInterface.register(IMPLEMENTATION, shared_prefix_attention)
