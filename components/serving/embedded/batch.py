"""The rows being decoded together: they join from parts, take steps, and leave one by one."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from components.serving.embedded.forward import Forward
from components.serving.embedded.kv import ROOM, Prefix, RowKeys
from components.serving.embedded.prefill import Part
from components.serving.embedded.prefix import common_length
from components.serving.embedded.rows import Row


@dataclass
class Batch:
    """Rows with one shared prefix and a buffer of their own keys; the order of rows has no meaning."""

    rows: list[Row]
    prefix: Prefix
    keys: RowKeys

    def as_part(self) -> Part:
        """The same rows, ready to join others."""
        return Part(self.rows, self.prefix, self.keys.buffers, list(range(len(self.rows))), self.keys.filled)

    def next_logits(self, forward: Forward) -> Tensor:
        """Logits [rows, vocabulary] of every row's next token."""
        tokens = [row.last_token for row in self.rows]
        positions = [row.position for row in self.rows]
        return forward.next_logits(tokens, positions, self.prefix, self.keys)

    def remove(self, index: int) -> None:
        """Take a row out; the last one moves into its place."""
        self.keys.remove(index)
        self.rows[index] = self.rows[-1]
        self.rows.pop()


@torch.inference_mode()
def join(parts: list[Part]) -> Batch:
    """One batch of all parts' rows. What not all of them share of their prefixes becomes the rows' own.

    Empties the parts' `layers` on the way, so that old and new keys never exist twice as a whole.
    """
    shared = min(common_length(parts[0].prefix.tokens, part.prefix.tokens) for part in parts)
    filled = [len(part.prefix) - shared + own for part in parts for own in part.filled]
    prefix = parts[0].prefix.cut(shared)
    buffers = []
    for layer in range(len(prefix.layers)):
        own = [part.layers.pop(0) for part in parts]
        # First the keys of that layer, then its values.
        keys, values = (
            _joined(
                [(part, part.prefix.layers[layer][side], mine[side]) for part, mine in zip(parts, own, strict=True)],
                shared,
                filled,
            )
            for side in (0, 1)
        )
        buffers.append((keys, values))
    return Batch([row for part in parts for row in part.rows], prefix, RowKeys(buffers, filled))


def _joined(pieces: list[tuple[Part, Tensor, Tensor]], shared: int, filled: list[int]) -> Tensor:
    """One layer's keys or values of all rows, [rows, kv_heads, columns, head_dim], from each part's prefix and own."""
    kv_heads, _, head_dim = pieces[0][1].shape
    # Zeros, because a masked column's weight is 0 and 0 times NaN would be NaN.
    target = pieces[0][1].new_zeros(len(filled), kv_heads, max(filled) + ROOM, head_dim)
    first = 0
    for part, prefix, own in pieces:
        rows = slice(first, first + len(part.rows))
        tail, width = prefix.shape[1] - shared, max(part.filled)
        target[rows, :, :tail] = prefix[:, shared:]
        target[rows, :, tail : tail + width] = own[part.source, :, :width]
        first = rows.stop
    return target
