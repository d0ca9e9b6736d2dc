"""What a check of `srlm doctor` finds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "broken", "unknown"]


@dataclass(frozen=True)
class Finding:
    """One line: `unknown` is what could not be asked or is not used here; a remedy says what to do."""

    state: State
    text: str
    remedy: str = ""


def ok(text: str) -> Finding:
    return Finding("ok", text)


def broken(text: str, remedy: str) -> Finding:
    return Finding("broken", text, remedy)


def unknown(text: str, remedy: str = "") -> Finding:
    return Finding("unknown", text, remedy)
