"""Keys and values that the model leaves in forward passes: over prompts (prefill) and token by token (decode)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import Cache

# For each layer its keys and its values.
Layers = list[tuple[Tensor, Tensor]]

# Free columns when a batch's buffer is laid out or grows: one copy of the buffer for this many decode steps.
SPARE_COLUMNS = 64


class PrefillCache(Cache):
    """Collects what one forward pass over prompts makes: for each layer [batch, kv_heads, length, head_dim]."""

    def __init__(self) -> None:
        super().__init__(layers=[])
        self.collected: Layers = []

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Called by each attention layer; returns the keys and values to attend to."""
        self.collected.append((key_states, value_states))
        return key_states, value_states


class DecodeCache(Cache):
    """The sequences' own keys and values in buffers [batch, kv_heads, columns, head_dim].

    Those of sequence i lie in its first lengths[i] columns. Sequences are ragged to the right, so that those of any
    age share a batch without padding in between. What lies beyond a sequence's end is finite rubbish that the mask
    hides.
    """

    def __init__(self, buffers: Layers, lengths: list[int]) -> None:
        super().__init__(layers=[])
        self.buffers = buffers
        self.lengths = lengths
        self._indices = self._columns = torch.empty(0)  # where the running step writes: sequences and their columns

    def begin_step(self, device: torch.device) -> Tensor:
        """Make room for one more token of each sequence.

        Returns which own columns each then sees, bool [batch, 1, 1, columns in use].
        """
        self._indices = torch.arange(len(self.lengths), device=device)
        self._columns = torch.tensor(self.lengths, device=device)
        self.lengths = [length + 1 for length in self.lengths]
        return (torch.arange(max(self.lengths), device=device) <= self._columns[:, None])[:, None, None]

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Called by each attention layer with one token of each sequence; returns the keys and values to attend to."""
        batch, used = len(self.lengths), max(self.lengths)
        if used > self.buffers[layer_idx][0].shape[2]:
            # Layer by layer, so that old and new buffers never exist twice as a whole.
            self.buffers[layer_idx] = (_grown(self.buffers[layer_idx][0]), _grown(self.buffers[layer_idx][1]))
        keys, values = self.buffers[layer_idx]
        keys[self._indices, :, self._columns] = key_states[:, :, 0]
        values[self._indices, :, self._columns] = value_states[:, :, 0]
        return keys[:batch, :, :used], values[:batch, :, :used]

    def remove(self, index: int) -> None:
        """Take a sequence out: the last one moves into its place (one sequence's copy, not the whole buffer's)."""
        last = len(self.lengths) - 1
        if index != last:
            for keys, values in self.buffers:
                keys[index] = keys[last]
                values[index] = values[last]
            self.lengths[index] = self.lengths[last]
        self.lengths.pop()


def _grown(buffer: Tensor) -> Tensor:
    batch, heads, columns, head_dim = buffer.shape
    # Zeros, because a masked column's weight is 0 and 0 times NaN would be NaN.
    larger = buffer.new_zeros(batch, heads, columns + SPARE_COLUMNS, head_dim)
    larger[:, :, :columns] = buffer
    return larger
