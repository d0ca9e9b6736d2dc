"""Which written prompts are fit for use: the filters of Self-Instruct (Wang et al. 2022, section 2.2 and appendix).

Novelty is ROUGE-L against everything accepted so far, by bit-parallel LCS: linear in the pool, compiled.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterable, Sequence
from statistics import fmean

from rapidfuzz.distance import LCSseq

MIN_WORDS, MAX_WORDS = 4, 150
# A language model without tools can do nothing about these.
UNFIT_WORDS = re.compile(r"\b(images?|graphs?|pictures?|files?|maps?|draw|plot|go to)\b", re.IGNORECASE)
# As rouge_score's default tokenizer without stemming: lower case, everything but a-z and 0-9 is a space.
_SEPARATORS = re.compile(r"[^a-z0-9]+")
NOVELTY_MEASURED = 200  # prompts whose novelty is measured: enough for a mean, seconds at any size


def rejection_reason(text: str, finish_reason: str) -> str | None:
    """Why the text cannot serve as a prompt, None when it can. Novelty is left to the NoveltyPool."""
    if finish_reason != "stop":
        return "cut off by length"
    words = len(text.split())
    if words < MIN_WORDS:
        return "too short"
    if words > MAX_WORDS:
        return "too long"
    if UNFIT_WORDS.search(text):
        return "needs more than text"
    if text.startswith("Write a program"):
        return "asks for a program"
    if text[0] in string.punctuation:
        return "starts with punctuation"
    if not text[0].isascii():
        return "starts with a non-ASCII character"
    return None


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
    tokens = [rouge_tokens(text) for text in texts]
    before = [rouge_tokens(text) for text in others]
    closest = [
        max((rouge_l(text, other) for other in [*before, *tokens[:n], *tokens[n + 1 :]]), default=0.0)
        for n, text in enumerate(tokens[:NOVELTY_MEASURED])
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
        for other in self._pool:
            total = len(tokens) + len(other)
            # where even a full match of the shorter one stays below the threshold there is no need to compare
            if 2 * min(len(tokens), len(other)) > self.threshold * total and rouge_l(tokens, other) > self.threshold:
                return False
        return True

    def add(self, text: str) -> None:
        self._pool.append(rouge_tokens(text))
