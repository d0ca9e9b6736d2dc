"""Which tokens prompts have in common, and a small memory of prefixes that were read before."""

from __future__ import annotations

from collections.abc import Sequence

from components.serving.embedded.kv import Prefix

# Below this many tokens the second forward pass costs more than it saves.
MIN_SHARED = 16


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


class PrefixMemory:
    """The prefixes used last, within a number of them and of their tokens.

    A longer one serves any prompt that starts as it does: it is cut to what fits.
    """

    def __init__(self, max_prefixes: int = 4, max_tokens: int = 4096) -> None:
        self.max_prefixes = max_prefixes
        self.max_tokens = max_tokens
        self._prefixes: list[Prefix] = []

    def longest_match(self, tokens: tuple[int, ...]) -> Prefix | None:
        """The remembered prefix with the most tokens in common (the shortest of equals), now the most recent one.

        None when fewer than MIN_SHARED tokens match.
        """
        # The shortest of equals is the more general one; touching it keeps it when single prompts pass through.
        best = max(self._prefixes, key=lambda p: (common_length(p.tokens, tokens), -len(p)), default=None)
        if best is None or common_length(best.tokens, tokens) < MIN_SHARED:
            return None
        self._prefixes.remove(best)
        self._prefixes.append(best)
        return best

    def longest_start(self, tokens: tuple[int, ...]) -> Prefix | None:
        """As much of the start of `tokens` as a remembered prefix holds; None when that is below MIN_SHARED."""
        match = self.longest_match(tokens)
        return match.cut(common_length(match.tokens, tokens)) if match else None

    def remember(self, prefix: Prefix) -> None:
        """Keep a prefix; the ones not used for longest go when there are too many of them or of their tokens."""
        self._prefixes.append(prefix)
        while len(self._prefixes) > self.max_prefixes or sum(map(len, self._prefixes)) > self.max_tokens:
            self._prefixes.pop(0)
