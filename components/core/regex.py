"""Regular expressions that a recipe gives, to find a score or an answer in what a model wrote.

RE2 takes linear time whatever the pattern and the text: Python's own engine could take for ever, in an event loop that
waits for a thousand other answers (issue 16). It knows no lookaround and no references back to a group.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any, NamedTuple

import re2

TAIL = 2000  # characters at the end of a text that are searched: what it says before is not its last word
# RE2's own classes are ASCII's; these are Python's, so that a pattern finds digits and letters of every script.
_CLASSES = {"d": r"\p{Nd}", "w": r"\p{L}\p{N}_", "s": r"\s\v\p{Z}"}
_OPTIONS = re2.Options()
_OPTIONS.log_errors = False  # they are raised


def checked(pattern: str, group: str) -> str:
    """The pattern itself, which may be empty; raises ValueError where it is none or has no group of that name."""
    if not pattern:
        return pattern
    try:
        groups = _compiled(pattern).groupindex
    except (re2.error, UnicodeEncodeError) as error:
        said = error.args[0] if isinstance(error, re2.error) else error
        said = said.decode(errors="replace") if isinstance(said, bytes) else said
        raise ValueError(f"must be a regular expression of RE2, without lookaround and \\1 ({said})") from error
    if group not in groups:
        raise ValueError(f"must mark the {group} as (?P<{group}>...)")
    return pattern


class Found(NamedTuple):
    """A match: its place in the text, and that of its group."""

    start: int
    end: int
    group_start: int
    group_end: int


def last_match(pattern: str, text: str, group: str) -> Found | None:
    """The last match whose group is not empty, white space at the end of the text aside."""
    compiled, end = _compiled(pattern), len(text.rstrip())
    number = compiled.groupindex[group]
    matches = list(compiled.finditer(text[:end], max(0, end - TAIL)))  # so that $ is there
    marked = next((match for match in reversed(matches) if match[number]), None)
    return Found(*marked.span(), *marked.span(number)) if marked else None


@cache
def _compiled(pattern: str) -> Any:
    return re2.compile(_for_re2(pattern), _OPTIONS)


def _for_re2(pattern: str) -> str:
    r"""The pattern with \d, \w and \s for all scripts, and \Z by RE2's name."""

    def spelled(part: re.Match[str]) -> str:
        letter = part[0][1:]
        if part[0].startswith("["):
            return re.sub(r"\\(.)", lambda one: _CLASSES.get(one[1], one[0]), part[0], flags=re.DOTALL)
        if letter.lower() in _CLASSES:
            return f"[{'^' if letter.isupper() else ''}{_CLASSES[letter.lower()]}]"
        return r"\z" if letter == "Z" else part[0]

    return re.sub(r"\[\^?\]?(?:\\.|[^\\\]])*+(?:\]|\\?\Z)|\\.", spelled, pattern, flags=re.DOTALL)
