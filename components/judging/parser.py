"""Read the score from a judgement. What is no valid score is missing, never a number."""

from __future__ import annotations

import re
from dataclasses import dataclass

from components.core.regex import last_match
from components.core.texts import without_thoughts
from components.judging.statements import Said, last_statement
from components.judging.values import is_contradicted, read_value
from components.judging.written import as_read, line_behind

_NUMBER_BEFORE = re.compile(r"\d[.,]?\Z|\d\s?[/-]\s?\Z|(?<![\w)\]])[-\u2212]\Z")
_NUMBER_AFTER = re.compile(r"[.,]?\d")


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


def parse_score(completion: str, cut: bool = False, score_format: ScoreFormat = BUILT_IN_FORMAT) -> Score:
    """The score that a judge's completion ends on: the LAST one counts, within the format's range.

    `completion` is the judge's own text without the prompt. What it quotes counts only where it says nothing itself.
    `cut` says that it hit the length limit: a number at its very end may then be half of one.
    """
    said = (
        _by_pattern(completion, score_format)
        if score_format.pattern
        else last_statement(completion, "score", lambda line, aside: _read(line, aside, score_format.highest))
    )
    return score_said(said, cut, score_format)


def score_said(said: Said[float] | None, cut: bool, score_format: ScoreFormat, name: str = "score") -> Score:
    """The score, or why there is none."""
    if said is None:
        return Score(None, f"cut off before a {name}" if cut else f"no {name}")
    if cut and not said.behind.strip(" \t\r\n-+/(.,="):  # of "1 + 1" and "3 -", too
        return Score(None, f"cut off in the {name}")
    if said.value is None or not score_format.lowest <= said.value <= score_format.highest:
        return Score(None, f"not a number from {score_format.lowest:g} to {score_format.highest:g}")
    return Score(said.value)


def _read(line: str, aside: str, highest: float) -> tuple[float, str] | None:
    """The number and what follows it; an aside, as "(out of 5)", must name the right scale."""
    value, scale = read_value(line, highest), re.findall(r"\d+(?:\.\d+)?", aside)
    return None if value is None or (scale and float(scale[-1]) != highest) else (value.number, value.rest)


def _by_pattern(completion: str, score_format: ScoreFormat) -> Said[float] | None:
    """The group `score` of the last match. A part of a longer number is none: of 45, neither 4 nor 5 is the score."""
    completion = without_thoughts(completion)
    match = last_match(score_format.pattern, completion, "score")
    if match is None:
        return None
    start, end = match.group_start, match.group_end
    left = max(0, start - 3) if match.start == start else max(0, start - 2)
    before, behind = completion[left:start], completion[end:]
    value = read_value(as_read(completion[start:end]), score_format.highest)
    part = _NUMBER_BEFORE.search(before) or _NUMBER_AFTER.match(behind)
    if part or (match.end == end and is_contradicted(line_behind(completion, end), score_format.highest)):
        value = None
    return Said(value.number if value else None, behind)
