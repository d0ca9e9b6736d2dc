"""What prompts have in common at their start: how many tokens, and a small cache of prefixes that were read before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from components.serving.embedded.model.kv_cache import Layers

# Below this many tokens the second forward pass costs more than it saves.
MIN_SHARED = 16


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
        extended = [
            (torch.cat([k, more_k[0]], dim=1), torch.cat([v, more_v[0]], dim=1))
            for (k, v), (more_k, more_v) in zip(self.layers, layers, strict=True)
        ]
        return Prefix(self.tokens + tokens, extended)


def common_length(left: Sequence[int], right: Sequence[int]) -> int:
    """How many tokens two sequences have in common from their start."""
    for index, (a, b) in enumerate(zip(left, right, strict=False)):
        if a != b:
            return index
    return min(len(left), len(right))


def shareable_length(prompts: Sequence[tuple[int, ...]]) -> int:
    """How many first tokens all prompts share, the last token of each left out (decoding starts from it)."""
    # The smallest and the largest of sorted sequences differ first where any two of them do.
    first, last = min(prompts), max(prompts)
    shared = min(common_length(first, last), min(map(len, prompts)) - 1)
    return shared if shared >= MIN_SHARED else 0


@dataclass
class PrefixCache:
    """The prefixes used last, within a number of them and of their tokens.

    A longer one serves any prompt that starts as it does: it is cut to what fits.
    """

    max_prefixes: int = 4
    max_tokens: int = 4096
    _prefixes: list[Prefix] = field(default_factory=list)

    def longest_match(self, tokens: tuple[int, ...]) -> Prefix | None:
        """The cached prefix with the most tokens in common (the shortest of equals), now the most recent one.

        None when fewer than MIN_SHARED tokens match.
        """
        # The shortest of equals is the more general one; touching it keeps it when single prompts pass through.
        best = max(self._prefixes, key=lambda p: (common_length(p.tokens, tokens), -len(p)), default=None)
        if best is None or common_length(best.tokens, tokens) < MIN_SHARED:
            return None
        self._prefixes.remove(best)
        self._prefixes.append(best)
        return best

    def add(self, prefix: Prefix) -> None:
        """Keep a prefix; the ones not used for longest go when there are too many of them or of their tokens."""
        self._prefixes.append(prefix)
        while len(self._prefixes) > self.max_prefixes or sum(map(len, self._prefixes)) > self.max_tokens:
            self._prefixes.pop(0)
