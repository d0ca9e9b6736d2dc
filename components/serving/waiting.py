"""How long a busy server asks its callers to wait: the ways in which servers and gateways say it."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"(?<!\d)(\d++(?:\.\d++)?)\s*+(ms|s|m|h)[a-z]*", re.IGNORECASE)
_IN_WORDS = re.compile(
    r"(?:try again|retry)\D{0,20}?\b(?:in|after)\s+((?:\d+(?:\.\d+)?\s*(?:ms|s|m|h)[a-z]*[\s,]*)+)", re.IGNORECASE
)


def wait_asked_for(headers: Mapping[str, str], said: str = "", now: float | None = None) -> float | None:
    """Seconds from the headers (`retry-after-ms`, `Retry-After` as a number or a date) or the message; None for none.

    `headers` have lower-case names, or do not care, as httpx2's. `now` is in seconds since 1970, None: this moment.
    What cannot be read is passed over; a time that is past is 0.
    """
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        value = headers.get(name, "").strip()
        if re.fullmatch(r"\d+(\.\d+)?", value):
            return float(value) * unit
        if value and unit == 1.0:
            try:
                at = parsedate_to_datetime(value).timestamp()
            except ValueError:
                continue
            return max(0.0, at - (time.time() if now is None else now))
    in_words = _IN_WORDS.search(said)
    return sum(float(n) * _UNITS[unit.lower()] for n, unit in _DURATION.findall(in_words[1])) if in_words else None
