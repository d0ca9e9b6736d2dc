"""What a judge wrote as a person reads it: signs of form taken off, and what it only quotes told from what it says."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator
from typing import Any, NamedTuple

from components.core.texts import without_thoughts

# What a template, Markdown, HTML or LaTeX puts around a text; a struck-out text is taken back.
_CONTROL = re.compile(r"<\|[^|<>\n]{0,40}\|>|</?s>|<eos>|<(?:start|end)_of_turn>|\[/?INST\]")
_HTML = re.compile(r"</?(?:b|strong|em|i|u|p|br|h[1-6]|span|div|code)\s{0,3}/?>|</\w{1,20}>", re.IGNORECASE)
_STRUCK = re.compile(r"~~[^~\n]{0,200}~~")
_ESCAPED_BREAK = re.compile(r"\\n(?![a-z])")
_FRACTION = re.compile(r"\\[dt]?frac\s?\{\s?([\d.]{1,9})\s?\}\s?\{\s?([\d.]{1,9})\s?\}")
_LATEX = re.compile(r"\\(?:boxed|text(?:bf|it|rm)?|math(?:bf|rm)|left|right|quad|[,;!])")
_FORM = re.compile(r"(?<!\d)[*_]|[*_](?!\d)|[`$\\{}<>\"“”„‘’'«»「」『』\[\]]")
_SIGNS = {ord(sign): ":" for sign in "꞉∶"} | {ord(sign): "-" for sign in "−‒–—―"} | {ord("、"): ",", ord("。"): "."}
_INVISIBLE = {"Cf", "So"}  # zero width, direction; emoji
_KEYCAP = "\ufe0e\ufe0f\u20e3"
_FENCE = re.compile(r"^\s{0,3}(?:```|~~~)", re.MULTILINE)
LINE = 600  # characters of a line that are looked at, before and behind a place


def as_read(text: str) -> str:
    """The text with one form for each sign: no thoughts, control tokens, emoji or invisible characters; digits of all
    scripts, full-width forms, dashes and spaces as ASCII has them. ² and ½ stay what they are."""
    text = _STRUCK.sub(" ", _HTML.sub(" ", _CONTROL.sub(" ", without_thoughts(text))))
    if "{" not in text:  # else it may be JSON's own
        text = _ESCAPED_BREAK.sub(". ", text)
    if not text.isascii():
        text = "".join(map(_one_form, text)).translate(_SIGNS)
    return _LATEX.sub(" ", _FRACTION.sub(r"\1/\2", text))


def _one_form(character: str) -> str:
    if character.isdecimal():
        return str(unicodedata.decimal(character))
    kind = unicodedata.category(character)
    if kind in _INVISIBLE or character in _KEYCAP:
        return ""
    return character if kind == "No" else unicodedata.normalize("NFKC", character)


def without_form(text: str) -> str:
    """Every sign that only shapes a text, as a space: a number that one interrupts is two."""
    return _FORM.sub(" ", text)


def line_before(text: str, place: int) -> str:
    """What stands on the same line before a place."""
    return text[text.rfind("\n", 0, place) + 1 : place][-LINE:]


def line_behind(text: str, place: int) -> str:
    """What stands on the same line behind a place."""
    end = text.find("\n", place, place + LINE)
    return text[place : place + LINE if end < 0 else end]


def is_quoted(text: str, place: int) -> bool:
    """Whether a place is inside quotation marks, a block quote or a fence of code: there a judge shows what it judges,
    or, where it says nothing else, what it says itself."""
    before = line_before(text, place)
    return (
        before.lstrip().startswith(">")
        or before.count('"') % 2 == 1
        or before.rfind("“") > before.rfind("”")
        or before.rfind("«") > before.rfind("»")
        or before.rstrip("*_ ")[-1:] in ("'", "‘", "„", "`", "「", "『")
        or len(_FENCE.findall(text, 0, place)) % 2 == 1
    )


class Found(NamedTuple):
    """A JSON object in a text: its place, and each value under the wanted name."""

    start: int
    end: int
    values: list[Any]


def json_objects(text: str, name: re.Pattern[str]) -> Iterator[Found]:
    """The JSON objects that have a value under a key with that name, at the top or, once, below."""
    decoder = json.JSONDecoder(object_pairs_hook=tuple)
    start, tries = text.find("{"), 0
    while start >= 0 and tries < 100:  # a text of many braces is no JSON
        try:
            pairs, end = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            tries, end = tries + 1, start + 1
        else:
            if values := _under(name, pairs):
                yield Found(start, end, values)
        start = text.find("{", end)


def _under(name: re.Pattern[str], value: Any) -> list[Any]:
    """All values of keys with that name, of the object itself or else of those in it."""
    if isinstance(value, list):
        return [found for one in value for found in _under(name, one)]
    if not isinstance(value, tuple):
        return []
    own = [inner for key, inner in value if name.fullmatch(key)]
    return own or [found for _, inner in value for found in _under(name, inner)]
