"""The number that a text begins with, if what follows ends it, scales it or explains it: 4. 4/5, 4 because, 1+1 = 2.

Anything that leaves more than one value open (3-4, 3 or 4, 4 if ...) has none.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from components.judging.written import without_form

_NUMBER = r"[+-]?(?:\d{1,3}(?:,\d{3})+(?![\d,])|\d{1,20})(?:\.\d{1,20})?|[+-]?\.\d{1,20}"
_POINTS = r"(?:\s?-?(?:(?:points?|pts?|stars?|marks?|punkte?n?|puntos?|pontos?|балл\w{0,3})(?!\w)|[分点點점]))"
_PLAIN = rf"(?:{_NUMBER})(?:(?={_POINTS})|(?![\w%²³¹½¼¾]|\s?%|[.,:'^]\d))"
_OUT_OF = (
    r"/|满分为?|on a scale (?:of|from)(?: \d+(?: to |-)| )"
    r"|(?:max(?:imum|\.)?|(?:out\s)?of|over|von|sur|de|di|из|on an?)(?!\w)"
    r"(?:\s(?:an? |the )?(?:maximum |possible |total )?(?:of )?)?"
)
_SCALE = re.compile(
    rf"{_POINTS}?\s*+(?P<open>[(\[]?)\s*+(?:{_OUT_OF})\s*(?P<scale>\d{{1,20}}(?:\.\d+)?)(?!\d|[.,]\d)"
    rf"(?:{_POINTS}|-point scale)?(?(open)\s*[)\]]?)",
    re.IGNORECASE,
)
_UNIT = re.compile(_POINTS, re.IGNORECASE)
_TERM = rf"(?:\d{{1,6}}(?:\.\d{{1,6}})?){_POINTS}?(?:\s*\([^()\d]{{0,80}}\))?"
_SUM = re.compile(rf"{_TERM}(?:\s*[+-]\s*{_TERM})+", re.IGNORECASE)
_ADDED = re.compile(r"\([^()]*\)|[^\d.+-]")
_VALUE = re.compile(_PLAIN)
_IN_PARENTHESES = re.compile(r"\s*+\(\s*+(?P<inner>[^()]*+)\)")
_SHARE = re.compile(r"\s*\(\s*(?P<percent>\d{1,3}(?:\.\d+)?)\s*%\s*\)")
# What may stand behind a value: its end, or a reason.
_END = re.compile(r"\s*+\)?\s*+(?:$|[.!;]+(?=\s|$)|#{2,}|(?=\bscore\s*:))", re.IGNORECASE)
_BECAUSE = re.compile(r"[\s,(:;|-]{0,6}(?:because|since|as|due|given|based|considering)\b", re.IGNORECASE)
_REMARK = re.compile(r"\s*(?:[,:|(]|-\s|->|\s-|for\b)\s*")
_OTHER = r"(?:an?\s+|be\s+|be\s+an?\s+)?[+-]?\.?\d"
_OPEN = re.compile(
    rf"[,;|/&+~-]\s*{_OTHER}"
    rf"|\b(?:or|to|maybe|perhaps|possibly|actually|rather|leaning|even|could|might|almost|nearly|towards?)\s+{_OTHER}"
    r"|^\s*(?:if|unless|depending|assuming|which\s+(?:is|was|seems)|or|maybe|perhaps)\b",
    re.IGNORECASE,
)
_COMPARED = re.compile(r"\s*(?:<(?![^<>]{0,40}>)|>)\s*[\d.]")  # less than 4, and not <4>
_CLOSED = r"[\s\])}>*_`\"'”$\\]{0,9}"
_CONTRADICTED = re.compile(
    rf"{_CLOSED}(?:-|~|\b(?:or|to|and)\b)\s*[\[(]{{0,2}}{_OTHER}|\s*%|{_CLOSED}[+]\s*\d|[.,:]\d", re.IGNORECASE
)


class Value(NamedTuple):
    """A number, and the end of its line: what follows it."""

    number: float
    rest: str


def read_value(line: str, highest: float) -> Value | None:
    """The one value that a line begins with; a scale must be that of `highest`. None where there is no clear one."""
    if _COMPARED.match(line):
        return None
    text = " ".join(without_form(line).split())
    if text.startswith("(") and (whole := _IN_PARENTHESES.match(text)):
        text = whole["inner"].strip() + text[whole.end() :]
    value = _sum(text) or _single(text)
    return None if value is None else _scaled(value, highest)


def is_contradicted(behind: str, highest: float) -> bool:
    """Whether what follows a number elsewhere (found by a pattern) makes another of it: a range, a foreign scale."""
    behind = behind[:80]
    scale = _SCALE.match(without_form(behind).lstrip())
    return bool(_CONTRADICTED.match(behind)) or bool(scale and float(scale["scale"]) != highest)


def number_of(text: str) -> float | None:
    """A text that is a plain number and nothing else."""
    whole = re.fullmatch(_NUMBER, text.strip())
    return float(whole[0].replace(",", "")) if whole else None


def _single(text: str) -> Value | None:
    """A number, or one that a sum behind it explains: 3 = 1 + 1 + 1."""
    number = _VALUE.match(text)
    if not number:
        return None
    value, rest = float(number[0].replace(",", "")), text[number.end() :]
    if rest.lstrip().startswith("="):
        terms = _SUM.match(rest.lstrip()[1:].lstrip())
        if not terms or not _same(_total(terms[0]), value):
            return None
        rest = rest.lstrip()[1:].lstrip()[terms.end() :]
    return Value(value, rest)


def _sum(text: str) -> Value | None:
    """What a sum comes to, if it does: 1 + 1 + 1 = 3."""
    terms = _SUM.match(text)
    if not terms:
        return None
    equals, result = text[terms.end() :].lstrip(), None
    if equals.startswith("="):
        result = _VALUE.match(equals[1:].lstrip())
    if not result or not _same(_total(terms[0]), float(result[0].replace(",", ""))):
        return None
    return Value(float(result[0].replace(",", "")), equals[1:].lstrip()[result.end() :])


def _total(terms: str) -> float:
    signed = re.findall(r"[+-]?[\d.]+", _ADDED.sub("", terms))
    return sum(float(term) for term in signed if term.count(".") < 2)


def _same(one: float, other: float) -> bool:
    return abs(one - other) < 1e-9


def _scaled(value: Value, highest: float) -> Value | None:
    """The value, if its scale is the right one and what then follows ends or explains it."""
    rest = value.rest
    if scale := _SCALE.match(rest.lstrip()):
        if float(scale["scale"]) != highest:
            return None
        rest = rest.lstrip()[scale.end() :]
    elif unit := _UNIT.match(rest):
        rest = rest[unit.end() :]
    if share := _SHARE.match(rest):
        if not _same(float(share["percent"]) / 100 * highest, value.number):
            return None
        rest = rest[share.end() :]
    return Value(value.number, value.rest) if _ends(rest, value.number, highest) else None


def _ends(rest: str, number: float, highest: float) -> bool:
    """Whether nothing follows, a sentence ends, a reason or a remark begins that leaves no other value open."""
    if _BECAUSE.match(rest):
        return not _OPEN.match(rest)
    if aside := _IN_PARENTHESES.match(rest):
        inner = aside["inner"].strip()
        terms = _SUM.fullmatch(inner)
        if terms and _same(_total(inner), number):
            return _ends(rest[aside.end() :], number, highest)
        if (same := _single(inner)) and (again := _scaled(same, highest)):
            return again.number == number and _ends(rest[aside.end() :], number, highest)
        return not re.match(r"[+-]?\.?\d", inner) and not _OPEN.search(_lists_aside(inner))
    end = _END.match(rest) or _REMARK.match(rest)
    remark = rest[end.end() :] if end else ""
    return end is not None and not _OPEN.search(remark) and not re.match(_OTHER, remark, re.IGNORECASE)


def _lists_aside(remark: str) -> str:
    """A remark in parentheses may name criteria by their numbers: (meets 1, 2 and 3)."""
    return re.sub(r"[,;/&]\s*(?=\d)", " ", remark)
