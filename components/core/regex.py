"""Regular expressions that a recipe gives, to find a score or an answer in what a model wrote."""

from __future__ import annotations

import re

# Characters at the end of a text that are searched. With a bounded text an ordinary pattern costs milliseconds even
# where it goes back over the text again and again; nested repetitions such as (a+)+ can still take for ever, and
# Python's engine knows no time limit.
TAIL = 2000


def checked(pattern: str, group: str) -> str:
    """The pattern itself, which may be empty; raises ValueError where it is none or has no group of that name."""
    if not pattern:
        return pattern
    try:
        groups = re.compile(pattern).groupindex
    except re.error as error:
        raise ValueError(f"must be a regular expression ({error})") from error
    if group not in groups:
        raise ValueError(f"must mark the {group} as (?P<{group}>...)")
    return pattern


def last_match(pattern: str, text: str, group: str) -> re.Match[str] | None:
    """The last match whose group is not empty, white space at the end of the text aside."""
    end = len(text.rstrip())
    matches = list(re.compile(pattern).finditer(text, max(0, end - TAIL), end))
    return next((match for match in reversed(matches) if match[group]), None)
