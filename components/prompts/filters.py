"""Which written prompts are fit for use: the filters of Self-Instruct (Wang et al. 2022, section 2.2 and appendix).

They are rules for English. For other languages those that speak of English words are left out, and a first character
may be a letter of any script. Novelty is ROUGE-L against everything accepted so far.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Sequence
from statistics import fmean

from components.core.texts import TextPool, rouge_l, tokens, word_count
from components.serving.answers import STOP, unanswered

MIN_WORDS, MAX_WORDS = 4, 150
ENGLISH = "en"
# A language model without tools can do nothing about these. In other languages some mean other things: "file" is a
# queue in French.
UNFIT_WORDS = re.compile(r"\b(images?|graphs?|pictures?|files?|maps?|draw|plot|go to)\b", re.IGNORECASE)
OPENING_MARKS = "¿¡"  # with which Spanish begins questions and exclamations
NOVELTY_MEASURED = 200  # prompts whose novelty is measured: enough for a mean, seconds at any size


def rejection_reason(text: str, finish_reason: str, language: str = ENGLISH) -> str | None:
    """Why the text cannot serve as a prompt, None when it can; `language` is the seed data's (OpenAssistant's code).

    Novelty is left to the NoveltyPool.
    """
    if finish_reason != STOP:
        return unanswered(finish_reason) or "cut off by length"
    words = word_count(text)
    if words < MIN_WORDS:
        return "too short"
    if words > MAX_WORDS:
        return "too long"
    if language == ENGLISH and UNFIT_WORDS.search(text):
        return "needs more than text"
    if language == ENGLISH and text.startswith("Write a program"):
        return "asks for a program"
    return _unfit_beginning(text, language)


def _unfit_beginning(text: str, language: str) -> str | None:
    """In English the first character is an ASCII letter or digit (the paper's rule), elsewhere one of any script."""
    if text[0] in string.punctuation:
        return "starts with punctuation"
    if language == ENGLISH:
        return None if text[0].isascii() else "starts with a non-ASCII character"
    kind = unicodedata.category(text.lstrip(OPENING_MARKS)[:1] or text[0])
    return None if kind[0] in "LN" else "starts with neither a letter nor a digit"


def mean_novelty(texts: Sequence[str], others: Sequence[str]) -> float | None:
    """1 - ROUGE-L to the closest other text, the mean over the first texts; None without texts.

    Compared are `others` and the other texts. A writer that runs dry repeats itself more closely from round to round.
    """
    written = [tokens(text) for text in texts]
    before = [tokens(text) for text in others]
    closest = [
        max((rouge_l(text, other) for other in [*before, *written[:n], *written[n + 1 :]]), default=0.0)
        for n, text in enumerate(written[:NOVELTY_MEASURED])
    ]
    return 1 - fmean(closest) if closest else None


class NoveltyPool(TextPool):
    """The prompts that a new one is compared with."""

    def is_novel(self, text: str) -> bool:
        """Whether no text of the pool is closer than the threshold."""
        return self.closest(text) is None
