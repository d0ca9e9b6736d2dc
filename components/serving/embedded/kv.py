"""Keys and values: of a shared prefix, of freshly read prompts, and of the rows being decoded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import Cache

Layers = list[tuple[Tensor, Tensor]]

# Free columns when a batch's buffer is laid out or grows: one copy of the buffer for this many decode steps.
ROOM = 64


@dataclass(frozen=True)
class Prefix:
    """The first tokens of some prompts, with their keys and values for each layer: [kv_heads, length, head_dim]."""

    tokens: tuple[int, ...]
    layers: Layers

    def __len__(self) -> int:
        return len(self.tokens)

    def cut(self, length: int) -> Prefix:
        """The first `length` tokens (views, no copy)."""
        return Prefix(self.tokens[:length], [(k[:, :length], v[:, :length]) for k, v in self.layers])

    def extended(self, tokens: tuple[int, ...], layers: Layers) -> Prefix:
        """This prefix followed by `tokens`, whose keys and values are [1, kv_heads, length, head_dim]."""
        joined = [
            (torch.cat([k, more_k[0]], dim=1), torch.cat([v, more_v[0]], dim=1))
            for (k, v), (more_k, more_v) in zip(self.layers, layers, strict=True)
        ]
        return Prefix(self.tokens + tokens, joined)


class ReadKeys(Cache):
    """Collects the keys and values that one forward pass over prompts makes, [rows, kv_heads, length, head_dim]."""

    def __init__(self) -> None:
        super().__init__(layers=[])
        self.collected: Layers = []

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        self.collected.append((key_states, value_states))
        return key_states, value_states


class RowKeys(Cache):
    """The rows' own keys and values in buffers [rows, kv_heads, columns, head_dim].

    Row r's lie in its first filled[r] columns. Rows are ragged to the right, so that rows of any age share a batch
    without padding in between. What lies beyond a row's end is finite rubbish that the mask hides.
    """

    def __init__(self, buffers: Layers, filled: list[int]) -> None:
        super().__init__(layers=[])
        self.buffers = buffers
        self.filled = filled
        self._positions = torch.empty(0)
        self._rows = torch.empty(0)

    def begin_step(self, device: torch.device) -> Tensor:
        """Prepare for one more token a row; returns which own columns each sees, bool [rows, 1, 1, columns in use]."""
        self._positions = torch.tensor(self.filled, device=device)
        self._rows = torch.arange(len(self.filled), device=device)
        used = max(self.filled) + 1
        return (torch.arange(used, device=device) <= self._positions[:, None])[:, None, None]

    def end_step(self) -> None:
        """Count the token that this step wrote for each row."""
        self.filled = [length + 1 for length in self.filled]

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        rows, used = len(self.filled), max(self.filled) + 1
        if used > self.buffers[layer_idx][0].shape[2]:
            # Layer by layer, so that old and new buffers never exist twice as a whole.
            self.buffers[layer_idx] = (_grown(self.buffers[layer_idx][0]), _grown(self.buffers[layer_idx][1]))
        keys, values = self.buffers[layer_idx]
        keys[self._rows, :, self._positions] = key_states[:, :, 0]
        values[self._rows, :, self._positions] = value_states[:, :, 0]
        return keys[:rows, :, :used], values[:rows, :, :used]

    def remove(self, row: int) -> None:
        """Take a row out: the last row moves into its place (one row's copy, not the whole buffer's)."""
        last = len(self.filled) - 1
        if row != last:
            for keys, values in self.buffers:
                keys[row] = keys[last]
                values[row] = values[last]
            self.filled[row] = self.filled[last]
        self.filled.pop()


def _grown(buffer: Tensor) -> Tensor:
    rows, heads, columns, head_dim = buffer.shape
    # Zeros, because a masked column's weight is 0 and 0 times NaN would be NaN.
    larger = buffer.new_zeros(rows, heads, columns + ROOM, head_dim)
    larger[:, :, :columns] = buffer
    return larger
