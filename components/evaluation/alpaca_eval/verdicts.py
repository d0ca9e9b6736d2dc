"""Which of two answers an annotator chose. Identifiers are words with their case: "a tie" is no vote for A."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from components.judging.statements import last_statement
from components.judging.written import as_read, without_form

Verdict = Literal["first", "second", "tie"]
_NAMED = (
    r"(?i:(?:the |my )?(?:better |best |winning )?"
    r"(?:response|answer|assistant|model|option|output|identifier)\b[:\s]*)?"
)
_TIE = re.compile(r"(?i:(?:it s |it is |this is |is )?(?:an? )?(?:tied?|draw)(?!\w))")
# What may stand behind a choice: its end, its praise, or a reason; a second choice makes it none.
_ENDS = re.compile(
    r"\s*(?:$|[.!;]+(?=\s|$)|[,:(|]|-\s|(?i:because|since|as|for|due|over|wins|(?:is|was) (?:\w+ )?(?:better|best|the "
    r"winner|preferred|superior|preferable|stronger))\b)"
)
_DOUBT = r"(?i:\s*[,/&|+:(-]?\s*(?:or|and|maybe|perhaps|possibly)?\s*(?:the )?(?:response )?)"
_UNSURE = r"(?i:[\s,(:-]*(?:if|unless|depending|maybe|perhaps|possibly|not)\b)"


def parse_verdict(completion: str, cut: bool = False) -> Verdict | None:
    """What the LAST "Verdict:" that is the judge's own says; None where it is not one of A, B and tie.

    `cut` says that the completion hit the length limit: a verdict at its very end may be the beginning of another.
    """
    said = last_statement(completion, "verdict", _read_verdict)
    if said is None or (cut and not said.behind.strip()):
        return None
    return said.value


def parse_identifier(text: str, identifiers: Sequence[str]) -> str | None:
    """The identifier that an answer begins with (or names as the better model), None where there is none."""
    first_line = next((line for line in without_form(as_read(text)).splitlines() if line.strip()), "")
    found = _chosen(" ".join(first_line.split()), identifiers)
    return found[0] if found else None


def _read_verdict(line: str, aside: str) -> tuple[Verdict, str] | None:
    text = " ".join(without_form(line).split())
    if tie := _TIE.match(text):
        rest = text[tie.end() :]
        return ("tie", rest) if _ENDS.match(rest) else None
    chosen = _chosen(text, ("A", "B"))
    meanings: dict[str, Verdict] = {"A": "first", "B": "second"}
    return (meanings[chosen[0]], chosen[1]) if chosen else None


def _chosen(text: str, identifiers: Sequence[str]) -> tuple[str, str] | None:
    """The identifier and what follows it, if that leaves no doubt."""
    names = "|".join(map(re.escape, identifiers))
    found = re.match(rf"\(?{_NAMED}(?i:is |: )?\(?(?P<name>{names})(?!\w)\)?", text)
    if not found:
        return None
    rest = text[found.end() :]
    doubt = re.match(rf"{_DOUBT}(?:(?:{names})(?!\w)|(?i:a )?(?i:tie|draw)(?!\w))|{_UNSURE}", rest)
    return None if doubt or not _ENDS.match(rest) else (found["name"], rest)
