"""ROUGE-L against everything accepted so far, by bit-parallel LCS: linear in the pool, compiled."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from statistics import fmean

from rapidfuzz.distance import LCSseq

# As rouge_score's default tokenizer without stemming: lower case, everything but a-z and 0-9 is a space.
_SEPARATORS = re.compile(r"[^a-z0-9]+")

MEASURED = 200  # prompts whose novelty is measured: enough for a mean, seconds at any size


def rouge_tokens(text: str) -> list[str]:
    """The tokens that ROUGE-L compares."""
    return [token for token in _SEPARATORS.sub(" ", text.lower()).split(" ") if token]


def rouge_l(first: list[str], second: list[str]) -> float:
    """ROUGE-L F1 of two token lists (Lin 2004): 2 LCS / (len + len), 0 when either is empty."""
    if not first or not second:
        return 0.0
    return 2 * LCSseq.similarity(first, second) / (len(first) + len(second))


def mean_novelty(texts: Sequence[str], others: Sequence[str]) -> float | None:
    """1 - ROUGE-L to the closest other text, the mean over the first texts; None without texts.

    Compared are `others` and the other texts. A writer that runs dry repeats itself more closely from round to round.
    """
    measured = [rouge_tokens(text) for text in texts]
    before = [rouge_tokens(text) for text in others]
    closest = [
        max((rouge_l(one, other) for other in [*before, *measured[:n], *measured[n + 1 :]]), default=0.0)
        for n, one in enumerate(measured[:MEASURED])
    ]
    return 1 - fmean(closest) if closest else None


class NoveltyPool:
    """The prompts that a new one is compared with."""

    def __init__(self, texts: Iterable[str], threshold: float) -> None:
        self.threshold = threshold
        self._pool = [rouge_tokens(text) for text in texts]

    def is_novel(self, text: str) -> bool:
        """Whether no text of the pool is closer than the threshold."""
        tokens = rouge_tokens(text)
        return not any(self._too_close(tokens, other) for other in self._pool)

    def add(self, text: str) -> None:
        self._pool.append(rouge_tokens(text))

    def _too_close(self, tokens: list[str], other: list[str]) -> bool:
        total = len(tokens) + len(other)
        if 2 * min(len(tokens), len(other)) <= self.threshold * total:
            return False  # even a full match of the shorter one stays below: no need to compare
        return rouge_l(tokens, other) > self.threshold
