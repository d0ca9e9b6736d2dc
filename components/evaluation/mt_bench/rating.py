"""Read the rating from a judge's completion. What is no valid rating is missing, never a number."""

from __future__ import annotations

import re

from components.judging.parser import Score

LOWEST, HIGHEST = 1.0, 10.0
_RATING = re.compile(r"\[\[([^\[\]]*)\]\](?:\s*/\s*(\d+))?")
_NUMBER = re.compile(r"\s*\d+(?:\.\d+)?\s*")


def parse_rating(completion: str, cut: bool = False) -> Score:
    """The rating that a completion ends on: the LAST "[[...]]" counts, a number from 1 to 10.

    `completion` is the judge's own text without the prompt. FastChat takes the first, and others where there is none;
    but a judge may quote a rating that the answer gives itself before it comes to its own.
    """
    found = list(_RATING.finditer(completion))
    if not found:
        return Score(None, "cut off before a rating" if cut else "no rating")
    number, scale = found[-1].groups()
    if _NUMBER.fullmatch(number) and scale in (None, "10") and LOWEST <= float(number) <= HIGHEST:
        return Score(float(number))
    return Score(None, "not a number from 1 to 10")
