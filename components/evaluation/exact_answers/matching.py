"""Is an answer the reference answer? Equal texts, or equal parts of them as a pattern finds them."""

from __future__ import annotations

import re

from components.core.records import Candidate
from components.core.regex import last_match

CUT, NOT_FOUND, DIFFERENT = "cut off by length", "no answer found", "another answer"
_THOUSANDS = re.compile(r"(?<=\d),(?=\d)")


def extract(text: str, pattern: str) -> str | None:
    """The answer in a text, as it is compared: the last match's, None without one.

    Without a pattern it is the text without the white space around it. With one, commas between digits go: 1,234 is
    1234. Numbers are compared as they are written, so 1.50 is not 1.5 (as GSM8K's own code does).
    """
    if not pattern:
        return text.strip()
    found = last_match(pattern, text, "answer")
    return _THOUSANDS.sub("", found["answer"].strip()) if found else None


def wrong_because(answer: Candidate, reference: str, pattern: str) -> str | None:
    """Why an answer is not right, None where it is. One that was cut off gave no answer, whatever it holds."""
    if answer.finish_reason == "length":
        return CUT
    found = extract(answer.text, pattern)
    if found is None:
        return NOT_FOUND
    return None if found == reference else DIFFERENT
