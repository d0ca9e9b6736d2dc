"""Numbers as people write them in final answers, and their exact values: $1,029.00 is 1029, 29 % is not 29.

A number begins at its sign or currency and goes on to its percent sign, scale or exponent, so that a pattern that finds
a part of it has found all of it. What has no single value (2:29, 10-29, 1.2.3, 042) is compared as a text.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple

_MINUS = "\u2212\u2013-"  # the last one, as character classes are made of it
_SIGN = rf"(?:(?<![\w)\]}}])[+{_MINUS}])"
_SIGN_IN_WORDS = r"(?<!\d\s)\b(?:minus|negative)\s"  # "58 minus 29" has none
_CURRENCY = r"(?:\\?[$€£¥₹]\s?)"
# digits with what may stand between them; which of these are numbers is decided by `_plain`
_DIGITS = r"\d+\x20\d+/\d+|(?:(?<!\w)\.(?=\d))?\d(?:[\d.,:/'’\u00a0\u202f\u2009\u2212\u2013-]*\d)?"
_FRACTION = r"\\[dt]?frac\s?\{\s?(?P<over>\d+)\s?\}\s?\{\s?(?P<under>\d+)\s?\}"
_EXPONENT = rf"[eE][+-]?\d{{1,3}}\b|\s?(?:×|\\times|\\cdot|\*|x)\s?10\s?(?:\^|\*\*)\s?\{{?[+{_MINUS}]?\d{{1,3}}\}}?"
_SCALE = r"[\s-]?(?:hundred|thousand|million|billion|trillion)\b|(?:k|(?-i:M)|bn)\b"  # 29m are metres
_HALF = r"\sand\s(?:a|one)\shalf\b"
_PERCENT = r"\s?\\?[%\uff05]|\s(?:percent|per\s?cent|pct)\b"  # \uff05: full width
_BEYOND = "[‰⁰¹²³⁴⁵⁶⁷⁸⁹]"  # 29² is not 29
_NUMBER = re.compile(
    rf"(?P<sign>{_SIGN_IN_WORDS}|{_SIGN}(?=\\?[$€£¥₹\d.]))?(?P<currency>{_CURRENCY})?(?P<inner>{_SIGN}(?=[\d.]))?"
    rf"(?:{_FRACTION}|(?P<digits>{_DIGITS}))(?P<exponent>{_EXPONENT})?(?P<scale>{_SCALE})?"
    rf"(?P<half>{_HALF})?(?P<percent>{_PERCENT})?(?P<beyond>\s?{_BEYOND})?",
    re.IGNORECASE,
)
_WHOLE = re.compile(r"0|[1-9]\d*")
_DECIMAL = re.compile(r"(?:0|[1-9]\d*)?\.\d+")
_GROUPED = re.compile(r"[1-9]\d{0,2}(?P<mark>[,'’\u00a0\u202f\u2009])\d{3}(?:(?P=mark)\d{3})*(?P<decimals>\.\d+)?")
_INDIAN = re.compile(r"[1-9]\d?(?:,\d\d)+,\d{3}(?:\.\d+)?")
_RATIO = re.compile(r"(?:(?P<whole>\d+) )?(?P<over>\d+)/(?P<under>\d+)")
_SCALES = {"hundred": 2, "k": 3, "thousand": 3, "m": 6, "million": 6, "bn": 9, "billion": 9, "trillion": 12}
# Around the number in a text that is nothing but a number: what Markdown, LaTeX and a sentence's end put there.
_AROUND = re.compile(r"\\(?:boxed|text|mathbf|left|right)|[\s*_`~$#=≈(){}\[\]\\.,;:!?\"']")
LONGEST = 100  # digits and marks; longer ones are compared as texts


class Number(NamedTuple):
    """A number at a place in a text; `value` is None where it has no single one."""

    start: int
    end: int
    value: Fraction | None


def numbers(text: str, start: int = 0, end: int | None = None) -> Iterator[Number]:
    """All that begin and end between two places of the text."""
    for match in _NUMBER.finditer(text, start, len(text) if end is None else end):
        yield Number(match.start(), match.end(), _value(match))


def number_value(text: str) -> Fraction | None:
    """Of a text that is a number and nothing else, what stands around it for form aside; else None."""
    found = list(numbers(text))
    if len(found) != 1 or not only_form(text[: found[0].start] + text[found[0].end :]):
        return None
    return found[0].value


def only_form(text: str) -> bool:
    """Whether these signs say nothing beside a number: Markdown, LaTeX, the end of a sentence."""
    return not _AROUND.sub("", text)


def only_value(text: str, start: int = 0, end: int | None = None) -> Fraction | None:
    """Of the only number in a text, however often it is there; of a calculation, in what it comes to.

    None where there is none, or where there are several and nothing says which of them is meant.
    """
    end = len(text) if end is None else end
    result = max(text.rfind(sign, start, end) for sign in ("=", "≈")) + 1
    for begin in {result or start: None, start: None}:
        values = {number.value for number in numbers(text, begin, end)}
        if values:
            return values.pop() if len(values) == 1 else None
    return None


def _value(match: re.Match[str]) -> Fraction | None:
    number = _fraction(match["over"], match["under"]) if match["over"] else _plain(match["digits"])
    if number is None or match["beyond"]:
        return None
    number += Fraction(1, 2) if match["half"] else 0
    negative = sum(sign in _MINUS or sign[0].isalpha() for sign in (match["sign"], match["inner"]) if sign)
    power = _SCALES[match["scale"].strip(" \t\n-").lower()] if match["scale"] else 0
    if match["exponent"]:
        exponent = re.split(r"\^|\*\*|[eE]", match["exponent"])[-1].strip("{} \t\n")
        power += int(exponent.translate(dict.fromkeys(map(ord, _MINUS), "-")))
    return number * (-1) ** negative * Fraction(10) ** (power - 2 * bool(match["percent"]))


def _plain(digits: str) -> Fraction | None:
    """Whole numbers, decimals, thousands with a mark between them, and ratios. A leading zero makes it a code."""
    if len(digits) > LONGEST:
        return None
    digits = "".join(str(unicodedata.decimal(sign)) if sign.isdecimal() else sign for sign in digits)  # of any script
    if _WHOLE.fullmatch(digits) or _DECIMAL.fullmatch(digits):
        return Fraction(digits)
    if _GROUPED.fullmatch(digits) or _INDIAN.fullmatch(digits):
        return Fraction(re.sub(r"[^\d.]", "", digits))
    if ratio := _RATIO.fullmatch(digits):
        part = _fraction(ratio["over"], ratio["under"])
        return None if part is None else int(ratio["whole"] or 0) + part
    return None


def _fraction(over: str, under: str) -> Fraction | None:
    return Fraction(int(over), int(under)) if int(under) else None
