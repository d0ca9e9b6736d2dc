"""Read the score from a judgement. What is no valid score is missing, never a number."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

from components.core.regex import last_match

# "Score: 4", "**Score:** 3.5", "Score: <4>/5": the number must end where a number ends, so that 45 is not 4.
_SCORE = re.compile(
    r"\bscore\s*\**\s*:\s*\**\s*<?\s*(?P<number>-?\d+(?:\.\d+)?)(?![\d,.]*\d|\w|%)\s*>?(?:\s*/\s*(?P<scale>\d+))?",
    re.IGNORECASE,
)
_MARK = re.compile(r"\bscore\s*\**\s*:", re.IGNORECASE)
_NUMBER = re.compile(r"-?(?:\d+\.?\d*|\.\d+)")
_NUMBER_BEFORE, _NUMBER_AFTER = re.compile(r"\d[.,]?\Z"), re.compile(r"[.,]?\d")


@dataclass(frozen=True)
class ScoreFormat:
    """How a judge writes its score: a regular expression with the group `score` (empty: "Score: n"), and the range."""

    pattern: str = ""
    lowest: float = 0.0
    highest: float = 5.0

    @property
    def points(self) -> tuple[float, ...]:
        """Marks on the scale, at most 11: whole points where the range is 2 to 10 of them, else tenths of it."""
        width = self.highest - self.lowest
        steps = int(width) if width in range(2, 11) else 10
        return tuple(self.lowest + width * n / steps for n in range(steps + 1))

    def nearest(self, score: float) -> float:
        """The point nearest to a score of the range, halves upwards."""
        points = self.points
        return points[int((score - self.lowest) / (self.highest - self.lowest) * (len(points) - 1) + 0.5)]


BUILT_IN_FORMAT = ScoreFormat()


@dataclass(frozen=True)
class Score:
    """A parsed score, or None with the reason why there is none."""

    value: float | None
    unparsed: str | None = None


class _Written(NamedTuple):
    """Where a completion gives its score: the number, None where it is none, and the place behind it."""

    number: str | None
    end: int


def parse_score(completion: str, cut: bool = False, score_format: ScoreFormat = BUILT_IN_FORMAT) -> Score:
    """The score that a judge's completion ends on: the LAST match counts, within the format's range.

    `completion` is the judge's own text without the prompt. `cut` says that it hit the length limit: a number at its
    very end may then be half of one.
    """
    written = (
        _by_pattern(completion, score_format.pattern)
        if score_format.pattern
        else _behind_mark(completion, f"{score_format.highest:g}")
    )
    if written is None:
        return Score(None, "cut off before a score" if cut else "no score")
    no_number = Score(None, f"not a number from {score_format.lowest:g} to {score_format.highest:g}")
    if written.number is None:
        return no_number
    if cut and not completion[written.end :].strip():
        return Score(None, "cut off in the score")
    value = float(written.number)
    return Score(value) if score_format.lowest <= value <= score_format.highest else no_number


def _behind_mark(completion: str, highest: str) -> _Written | None:
    """What stands behind the last "Score:"; a scale, as in 4/5, must be that of the format."""
    marks = list(_MARK.finditer(completion))
    if not marks:
        return None
    score = _SCORE.match(completion, marks[-1].start())
    if not score or score["scale"] not in (None, highest):
        return _Written(None, marks[-1].end())
    return _Written(score["number"], score.end())


def _by_pattern(completion: str, pattern: str) -> _Written | None:
    """The group `score` of the last match. A part of a longer number is none: of 45, neither 4 nor 5 is the score."""
    match = last_match(pattern, completion, "score")
    if match is None:
        return None
    start, end = match.span("score")
    part = _NUMBER_BEFORE.search(completion, max(0, start - 2), start) or _NUMBER_AFTER.match(completion, end)
    return _Written(match["score"] if _NUMBER.fullmatch(match["score"]) and not part else None, end)
