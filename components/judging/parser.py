"""Read the score from a judgement. What is no valid score is missing, never a number."""

from __future__ import annotations

import re
from dataclasses import dataclass

LOWEST, HIGHEST = 0.0, 5.0
# "Score: 4", "**Score:** 3.5", "Score: <4>/5": the number must end where a number ends, so that 45 is not 4.
_SCORE = re.compile(
    r"\bscore\s*\**\s*:\s*\**\s*<?\s*(?P<number>-?\d+(?:\.\d+)?)(?![\d,.]*\d|\w|%)\s*>?(?:\s*/\s*(?P<scale>\d+))?",
    re.IGNORECASE,
)
_MARK = re.compile(r"\bscore\s*\**\s*:", re.IGNORECASE)


@dataclass(frozen=True)
class Score:
    """A parsed score, or None with the reason why there is none."""

    value: float | None
    unparsed: str | None = None


def parse_score(completion: str, cut: bool = False) -> Score:
    """The score that a judge's completion ends on: the LAST "Score:" counts, within 0 to 5.

    `completion` is the judge's own text without the prompt. `cut` says that it hit the length limit: a number at its
    very end may then be half of one.
    """
    marks = list(_MARK.finditer(completion))
    if not marks:
        return Score(None, "cut off before a score" if cut else "no score")
    found = _SCORE.match(completion, marks[-1].start())
    if not found or found["scale"] not in (None, "5"):
        return Score(None, "not a number from 0 to 5")
    if cut and not completion[found.end() :].strip():
        return Score(None, "cut off in the score")
    value = float(found["number"])
    return Score(value) if LOWEST <= value <= HIGHEST else Score(None, "not a number from 0 to 5")
