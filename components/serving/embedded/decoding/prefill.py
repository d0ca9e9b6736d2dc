"""Reading the prompts of new sequences, with as little of it twice as possible."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from components.serving.embedded.decoding.batch import Part
from components.serving.embedded.decoding.sequences import Sequence
from components.serving.embedded.model.forward import Forward
from components.serving.embedded.model.metrics import Metrics
from components.serving.embedded.model.prefix import Prefix, PrefixCache, common_length, shareable_length

# Tokens in one forward pass over prompts: enough to keep the device busy, little enough that activations stay small. A
# CPU took an eighth longer for judging with 2048 than with 1024, and as long as with 512 (docs/performance.md).
PREFILL_TOKENS = {"cpu": 1024, "cuda": 2048}


class Prefiller:
    """Turns new sequences into parts of a batch: every prompt is read up to its last token, where decoding starts.

    With `sharing`, sequences are grouped by the cached prefix that they start with; a group's common prefix is read
    once and cached, and equal prompts are read once. Without it every prompt is read in full (for comparison).
    """

    def __init__(self, forward: Forward, metrics: Metrics, sharing: bool = True) -> None:
        self._forward = forward
        self._metrics = metrics
        self._sharing = sharing
        self._prefixes = PrefixCache()
        self._most = PREFILL_TOKENS[forward.device.type]

    def read(self, sequences: list[Sequence]) -> list[Part]:
        """Parts that together hold all sequences."""
        if not self._sharing:
            return [self._read_chunk(chunk, self._forward.empty_prefix) for chunk in _chunks(sequences, 0, self._most)]
        groups: dict[tuple[int, ...], list[Sequence]] = defaultdict(list)
        for sequence in sequences:
            match = self._prefixes.longest_match(sequence.prompt)
            groups[match.tokens if match else ()].append(sequence)
        parts = []
        for group in groups.values():
            prefix = self._shared_prefix([sequence.prompt for sequence in group])
            parts += [self._read_chunk(chunk, prefix) for chunk in _chunks(group, len(prefix), self._most)]
        return parts

    def _shared_prefix(self, prompts: list[tuple[int, ...]]) -> Prefix:
        """What all prompts start with: read from where a cached prefix ends, and cached in its turn."""
        tokens = prompts[0][: shareable_length(prompts)]
        match = self._prefixes.longest_match(tokens)
        known = match.cut(common_length(match.tokens, tokens)) if match else self._forward.empty_prefix
        self._metrics.prefix_cache_hits += 1 if known else 0
        self._metrics.reused_tokens += len(known)
        missing = tokens[len(known) :]
        if not missing:
            return known
        prefix = known.extended(missing, self._forward.prefill([missing], known))
        self._prefixes.add(prefix)
        return prefix

    def _read_chunk(self, sequences: list[Sequence], prefix: Prefix) -> Part:
        """Read what follows the prefix, of equal prompts once (of each, where nothing is shared)."""
        prompts = [sequence.prompt for sequence in sequences]
        source = list(range(len(prompts)))
        if self._sharing:
            distinct = list(dict.fromkeys(prompts))
            index = {prompt: position for position, prompt in enumerate(distinct)}
            prompts, source = distinct, [index[prompt] for prompt in prompts]
        own = [prompt[len(prefix) : -1] for prompt in prompts]
        return Part(sequences, prefix, self._forward.prefill(own, prefix), source, [len(own[i]) for i in source])


def _chunks(sequences: list[Sequence], shared: int, most: int) -> Iterator[list[Sequence]]:
    """Sequences of similar length together, so that little is padded; at most `most` tokens with padding."""
    chunk: list[Sequence] = []
    distinct: set[tuple[int, ...]] = set()
    # Sorting by the tokens too brings equal prompts together, so that they are read once.
    for sequence in sorted(sequences, key=lambda s: (len(s.prompt), s.prompt)):
        if chunk and len(distinct | {sequence.prompt}) * (len(sequence.prompt) - shared) > most:
            yield chunk
            chunk, distinct = [], set()
        chunk.append(sequence)
        distinct.add(sequence.prompt)
    if chunk:
        yield chunk
