"""The sequences being decoded together: new ones are merged in, take steps with the others, and leave one by one."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from components.serving.embedded.decoding.sequences import Sequence
from components.serving.embedded.model.forward import Forward
from components.serving.embedded.model.kv_cache import SPARE_COLUMNS, DecodeCache, Layers
from components.serving.embedded.model.prefix import Prefix, common_length


@dataclass
class Part:
    """Sequences to merge into a batch: their prefix, and their own keys.

    Sequence i has `lengths[i]` of them in `layers[...][source[i]]`: equal prompts have one source.
    """

    sequences: list[Sequence]
    prefix: Prefix
    layers: Layers
    source: list[int]
    lengths: list[int]


@dataclass
class Batch:
    """Sequences with one shared prefix and a cache of their own keys; their order has no meaning."""

    sequences: list[Sequence]
    prefix: Prefix
    cache: DecodeCache

    def next_logits(self, forward: Forward) -> Tensor:
        """Logits [batch, vocabulary] of each next token; the keys of the newest ones are added on the way."""
        newest = [(s.generated or s.prompt)[-1] for s in self.sequences]
        positions = [len(s.prompt) + len(s.generated) - 1 for s in self.sequences]
        return forward.next_logits(newest, positions, self.prefix, self.cache)

    def remove(self, index: int) -> None:
        """Take a sequence out; the last one moves into its place."""
        self.cache.remove(index)
        self.sequences[index] = self.sequences[-1]
        self.sequences.pop()


@torch.inference_mode()
def merge(running: Batch | None, parts: list[Part]) -> Batch:
    """One batch of all sequences. What not all of them share of their prefixes becomes the sequences' own.

    Empties the parts' `layers` and the running batch's buffers on the way, so that old and new keys never exist twice
    as a whole.
    """
    if running:
        source = list(range(len(running.sequences)))
        cache = running.cache
        parts = [Part(running.sequences, running.prefix, cache.buffers, source, cache.lengths), *parts]
    shared = min(common_length(parts[0].prefix.tokens, part.prefix.tokens) for part in parts)
    lengths = [len(part.prefix) - shared + own for part in parts for own in part.lengths]
    prefix = parts[0].prefix.cut(shared)
    buffers = []
    for layer in range(len(prefix.layers)):
        own = [part.layers.pop(0) for part in parts]
        # First the keys of that layer, then its values.
        keys, values = (
            _merged(
                [(part, part.prefix.layers[layer][side], mine[side]) for part, mine in zip(parts, own, strict=True)],
                shared,
                lengths,
            )
            for side in (0, 1)
        )
        buffers.append((keys, values))
    return Batch([s for part in parts for s in part.sequences], prefix, DecodeCache(buffers, lengths))


def _merged(pieces: list[tuple[Part, Tensor, Tensor]], shared: int, lengths: list[int]) -> Tensor:
    """One layer's keys or values of all sequences, [batch, kv_heads, columns, head_dim].

    pieces: for each part those of its prefix and those of its sequences.
    """
    kv_heads, _, head_dim = pieces[0][1].shape
    # Zeros, because a masked column's weight is 0 and 0 times NaN would be NaN.
    target = pieces[0][1].new_zeros(len(lengths), kv_heads, max(lengths) + SPARE_COLUMNS, head_dim)
    first = 0
    for part, prefix, own in pieces:
        indices = slice(first, first + len(part.sequences))
        tail, width = prefix.shape[1] - shared, max(part.lengths)
        target[indices, :, :tail] = prefix[:, shared:]
        target[indices, :, tail : tail + width] = own[part.source, :, :width]
        first = indices.stop
    return target
