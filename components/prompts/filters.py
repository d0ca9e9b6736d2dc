"""Which written prompts are fit for use: the filters of Self-Instruct (Wang et al. 2022, section 2.2 and appendix)."""

from __future__ import annotations

import re
import string

MIN_WORDS, MAX_WORDS = 4, 150
# A language model without tools can do nothing about these.
UNFIT_WORDS = re.compile(r"\b(images?|graphs?|pictures?|files?|maps?|draw|plot|go to)\b", re.IGNORECASE)


def rejection_reason(text: str, finish_reason: str) -> str | None:
    """Why the text cannot serve as a prompt, None when it can. Novelty is checked elsewhere."""
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
