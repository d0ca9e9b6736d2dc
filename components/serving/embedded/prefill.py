"""Reading the prompts of new rows, with as little of it twice as possible."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from components.serving.embedded.forward import Forward
from components.serving.embedded.kv import Layers, Prefix
from components.serving.embedded.metrics import Metrics
from components.serving.embedded.prefix import PrefixMemory, shareable_length
from components.serving.embedded.rows import Row

# Tokens in one forward pass over prompts: enough to keep the cores busy, little enough that activations stay small.
PREFILL_TOKENS = 2048


@dataclass
class Part:
    """Rows that share a prefix, and their own keys: row i has `filled[i]` of them in `layers[...][source[i]]`."""

    rows: list[Row]
    prefix: Prefix
    layers: Layers
    source: list[int]
    filled: list[int]


class Prefiller:
    """Turns new rows into parts of a batch: every prompt is read up to its last token, which decoding starts from.

    With `sharing`, rows are grouped by the remembered prefix that they start with; a group's common prefix is read
    once and remembered, and equal prompts are read once. Without it every row is read alone in full (for comparison).
    """

    def __init__(self, forward: Forward, metrics: Metrics, sharing: bool = True) -> None:
        self._forward = forward
        self._metrics = metrics
        self._sharing = sharing
        self._memory = PrefixMemory()

    def read(self, rows: list[Row]) -> list[Part]:
        """Parts that together hold all rows."""
        if not self._sharing:
            return [
                self._read_chunk([row.prompt for row in chunk], chunk, self._forward.empty_prefix)
                for chunk in _chunks(rows, 0)
            ]
        parts = []
        for group in self._groups(rows):
            prefix = self._shared_prefix([row.prompt for row in group])
            parts += [
                self._read_chunk(list(dict.fromkeys(row.prompt for row in chunk)), chunk, prefix)
                for chunk in _chunks(group, len(prefix))
            ]
        return parts

    def _groups(self, rows: list[Row]) -> list[list[Row]]:
        groups: dict[tuple[int, ...], list[Row]] = defaultdict(list)
        for row in rows:
            match = self._memory.longest_match(row.prompt)
            groups[match.tokens if match else ()].append(row)
        return list(groups.values())

    def _shared_prefix(self, prompts: list[tuple[int, ...]]) -> Prefix:
        length = shareable_length(prompts)
        tokens = prompts[0][:length]
        start = self._memory.longest_start(tokens) or self._forward.empty_prefix
        self._metrics.prefix_cache_hits.add(1 if start else 0)
        self._metrics.reused_tokens.add(len(start))
        if len(start) == length:
            return start
        missing = tokens[len(start) :]
        prefix = start.extended(missing, self._forward.read([missing], start))
        self._memory.remember(prefix)
        return prefix

    def _read_chunk(self, prompts: list[tuple[int, ...]], rows: list[Row], prefix: Prefix) -> Part:
        """Read `prompts`, the distinct ones of `rows` (or each row's, when nothing is shared)."""
        own = [prompt[len(prefix) : -1] for prompt in prompts]
        place = {prompt: index for index, prompt in enumerate(prompts)}
        source = [place[row.prompt] for row in rows] if self._sharing else list(range(len(rows)))
        return Part(rows, prefix, self._forward.read(own, prefix), source, [len(own[index]) for index in source])


def _chunks(rows: list[Row], shared: int) -> Iterator[list[Row]]:
    """Rows of similar length together, so that little is padded, at most PREFILL_TOKENS padded tokens at a time."""
    chunk: list[Row] = []
    distinct: set[tuple[int, ...]] = set()
    # Sorting by the tokens too brings equal prompts together, so that they are read once.
    for row in sorted(rows, key=lambda row: (len(row.prompt), row.prompt)):
        if chunk and len(distinct | {row.prompt}) * (len(row.prompt) - shared) > PREFILL_TOKENS:
            yield chunk
            chunk, distinct = [], set()
        chunk.append(row)
        distinct.add(row.prompt)
    if chunk:
        yield chunk
