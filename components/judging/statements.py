"""Where a judge states what it was asked for, as "Score: 4" or "Verdict: A": its own last word, no quoted one."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, Generic, NamedTuple, TypeVar

from components.judging.written import (
    Found,
    as_read,
    is_quoted,
    json_objects,
    line_before,
    line_behind,
    without_form,
)

T = TypeVar("T")
# From the text behind a name, and what stands in parentheses beside it: the value and what follows it, or None.
Read = Callable[[str, str], tuple[T, str] | None]
# Words that lead to a judge's own statement. Others name a part of it ("clarity score"), or another's ("it says").
_OWN = re.compile(
    r"(?:an?|and|the|this|my|our|i|we|so|thus|therefore|hence|then|overall|final|total|give|assign|award|would|is|it|in"
    r"|conclusion|summary|of|for|evaluation|verdict|result|judge?ment|assessment|decision|points?|judge|s|score)"
)
_ASIDE = re.compile(r"out|max(?:imum)?|from|to|or|scale|between|tie|b")
_PLACEHOLDER = re.compile(
    r"[<\[{(\s]{0,6}(?:the |your |my )?(?:final |overall )?"
    r"(?:total|points?|score|rating|verdict|number|value|integer|digit|n|x|#)(?: (?:of )?(?:points?|score))?\s*[>\])}]",
    re.IGNORECASE,
)
_SENTENCE = re.compile(r"[.!?;,)|\n]|\s-\s")
_WORD = re.compile(r"[^\W\d_]+")
MARKS = 100  # from the end: what a text says before them is not its last word


class Said(NamedTuple, Generic[T]):
    """A place where a text states something: the value, None where it is not one clear value, and what follows it."""

    value: T | None
    behind: str
    quoted: bool = False
    whole: bool = False  # an object of JSON, which may stand in a fence and be explained behind it


def last_statement(completion: str, name: str, read: Read[T]) -> Said[T] | None:
    """What a completion says last of its own under that name; else what it quotes at its very end, or gives as JSON."""
    quoted = None
    for said in _statements(as_read(completion), name, read):
        if not said.quoted:
            return said
        if quoted is None and (said.whole or not any(sign.isalnum() for sign in said.behind)):
            quoted = said
    return quoted


def placeholder(text: str, place: int = 0) -> bool:
    """Whether the form to be kept stands there, as <total points>, and no value."""
    return bool(_PLACEHOLDER.match(text, place))


@cache
def _mark(name: str) -> re.Pattern[str]:
    """ "Score: 4", "**Final score (out of 5)**: 4", "Score - 4", "# Score" with the number below it."""
    return re.compile(
        rf"(?<![^\W_])(?<!-)(?:(?:final|overall|total)_)?{name}(?P<key>[\\\"'”’]{{0,2}})[*_`\s]{{0,6}}"
        r"(?P<aside>[(\[][^()\[\]\n]{0,40}[)\]]|out of \d+|/\s?\d+)?[*_`}\s]{0,6}?"
        r"(?P<colon>:{1,2}|[*_`\s]{0,6}(?:=>|->|→|=|>|\||(?<=\s)-(?=\s)|is\b\s?:?|(?=\s)))",
        re.IGNORECASE,
    )


@cache
def _key(name: str) -> re.Pattern[str]:
    return re.compile(rf"(?:(?:final|overall|total)[_ -]?)?{name}", re.IGNORECASE)


def _statements(text: str, name: str, read: Read[T]) -> Iterator[Said[T]]:
    """What stands behind each name and in each JSON object, from the last to the first."""
    objects = list(json_objects(text, _key(name)))[-MARKS:] if "{" in text else []
    places: list[tuple[int, Found | re.Match[str]]] = [(found.start, found) for found in objects]
    for mark in deque(_mark(name).finditer(text), MARKS):
        if not any(found.start <= mark.start() < found.end for found in objects):
            places.append((mark.start(), mark))
    for place, found in sorted(places, key=lambda one: one[0], reverse=True):
        said = _in_object(found, text, read) if isinstance(found, Found) else _at_mark(found, text, read)
        if said:
            is_key = isinstance(found, re.Match) and found["key"] and found["colon"].startswith(":")  # "score": 4
            yield said._replace(quoted=not is_key and is_quoted(text, place))


def _in_object(found: Found, text: str, read: Read[T]) -> Said[T]:
    """Values under one key that differ, or of parts, are none."""
    values = [value[0] if isinstance(value, list) and len(value) == 1 else value for value in found.values]
    plain = [value for value in values if isinstance(value, str | int | float) and not isinstance(value, bool)]
    value = read(str(plain[0]), "") if len(plain) == len(values) == 1 else None
    return Said(value[0] if value else None, text[found.end - 1 :], whole=True)


def _at_mark(mark: re.Match[str], text: str, read: Read[T]) -> Said[T] | None:
    """None where the text only speaks of it: of another's, of a part, of the form to be kept. Without a colon it also
    does where no value follows."""
    aside: Any = mark["aside"] or ""
    own = all(_OWN.fullmatch(word) for word in _words(_SENTENCE.split(line_before(text, mark.start()))[-1]))
    if not own or placeholder(text, mark.end()):
        return None
    if not all(_OWN.fullmatch(word) or _ASIDE.fullmatch(word) for word in _words(aside)):
        return None
    line, end = _next_line(text, mark.end())
    value = read(line, aside)
    if value is None and not mark["colon"].startswith(":"):
        return None
    return Said(value[0], value[1] + text[end:]) if value else Said(None, line + text[end:])


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _next_line(text: str, place: int) -> tuple[str, int]:
    """What follows a place on its line, or on the next one that is not blank, and where that ends."""
    line = line_behind(text, place)
    for _ in range(8):
        if without_form(line).strip() or place >= len(text):
            break
        place += len(line) + 1
        line = line_behind(text, place)
    return line, place + len(line)
