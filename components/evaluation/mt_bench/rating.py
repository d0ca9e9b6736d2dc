"""Read the rating from a grading: "Rating: [[8]]". What is no valid rating is missing, never a number."""

from __future__ import annotations

import re
from collections import deque

from components.judging.parser import Score, ScoreFormat, score_said
from components.judging.statements import MARKS, Said, placeholder
from components.judging.values import is_contradicted, read_value
from components.judging.written import as_read, is_quoted, line_before, line_behind

FORMAT = ScoreFormat(lowest=1, highest=10)
# One bracket may be lost at the end: nothing else is meant by "[[8]".
_BRACKETS = re.compile(r"\[\s?\[(?P<inner>[^\[\]\n]{0,200}+)(?P<closed>\]\s?\]?|\s*\Z)")
_ESCAPED = re.compile(r"\\(?=[\[\]])")
_LABEL = re.compile(r"\s*(?:rating|score)\s*:?\s*", re.IGNORECASE)
# What comes just before a rating that somebody else has given, and just behind one that is only spoken of.
_CLAIMED = re.compile(
    r"\b(?:says?|said|claims?|writes?|wrote|states?|(?:rates?|gives?) (?:itself|themselves)|asks? for|demands?"
    r"|contains?|includes?|ends (?:with|on)|reads?|quotes?)[\s:\"“'*_`]{0,9}(?:rating[\s:]{0,3})?[*_]{0,2}\Z",
    re.IGNORECASE,
)
_SPOKEN_OF = re.compile(r"[*_\"”'`]{0,3},? (?:which|that) (?:is|was|seems)\b", re.IGNORECASE)
_RANGE = re.compile(r"\]\s*(?:-|~|/|\b(?:to|or|and|(?:out )?of)\b)\s*(?:rating:?\s*)?\Z", re.IGNORECASE)


def parse_rating(completion: str, cut: bool = False) -> Score:
    """The rating that a completion ends on: the LAST "[[...]]" counts, a number from 1 to 10.

    `completion` is the judge's own text without the prompt. FastChat takes the first, and others where there is none;
    but a judge may quote a rating that the answer gives itself before it comes to its own.
    """
    text = _ESCAPED.sub("", as_read(_ESCAPED.sub("", completion)))
    ratings = [found for found in deque(_BRACKETS.finditer(text), MARKS) if _is_rating(found, text, cut)]
    own = [found for found in ratings if not is_quoted(text, found.start())] or ratings[-1:]
    return score_said(_said(own[-1], text) if own else None, cut, FORMAT, "rating")


def _is_rating(found: re.Match[str], text: str, cut: bool) -> bool:
    """Whether the brackets hold the judge's rating, and neither the form to be kept nor what it speaks of."""
    if placeholder(f"[{found['inner']}]") or (cut and not found["closed"].strip()):
        return False
    before, behind = line_before(text, found.start()), line_behind(text, found.end())
    return not _CLAIMED.search(before[-60:]) and not _SPOKEN_OF.match(behind)


def _said(found: re.Match[str], text: str) -> Said[float]:
    label = _LABEL.match(found["inner"])
    value = read_value(found["inner"][label.end() if label else 0 :], FORMAT.highest)
    behind, before = line_behind(text, found.end()), line_before(text, found.start())
    doubtful = is_contradicted(behind, FORMAT.highest) or _RANGE.search(before[-30:])
    return Said(value.number if value and not doubtful else None, text[found.end("inner") :])
