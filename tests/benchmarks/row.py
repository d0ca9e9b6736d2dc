"""One row of the table: what ours does, what people would use instead does, and what could be done at best."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """`ours` and what it is held against, all in `unit`; what is not known is None.

    `limit` is by the formula that docs/performance.md gives. `wanted` is the least ratio to the other (of_other), to
    the limit (of_limit), or the most in `unit` (at_most): issue 17's goals.
    """

    part: str
    unit: str
    ours: float
    other_name: str = ""
    other: float | None = None
    limit: float | None = None
    less_is_better: bool = False
    of_other: float | None = None
    of_limit: float | None = None
    at_most: float | None = None
    note: str = ""

    def ratio(self, held_against: float | None) -> float | None:
        """How many times as good ours is; None where there is nothing to hold it against."""
        if not held_against:
            return None
        return held_against / self.ours if self.less_is_better else self.ours / held_against

    @property
    def goals(self) -> list[tuple[str, bool]]:
        """Each goal in words, and whether it is met."""
        pairs = [
            (self.of_other, self.ratio(self.other), f"{self.other_name}"),
            (self.of_limit, self.ratio(self.limit), "the limit"),
        ]
        met = [(f">= {least:g} x {name}", ratio >= least) for least, ratio, name in pairs if least and ratio]
        if self.at_most is not None:
            met.append((f"<= {self.at_most:g} {self.unit}", self.ours <= self.at_most))
        return met

    def cells(self) -> list[str]:
        """As they stand in the table, in the order of HEADINGS."""
        goals = "; ".join(f"{goal}: {'met' if met else '**missed**'}" for goal, met in self.goals)
        return [
            self.part,
            f"{_short(self.ours)} {self.unit}",
            f"{self.other_name} {_short(self.other)}".strip(),
            _short(self.limit),
            _short(self.ratio(self.other)),
            _short(self.ratio(self.limit)),
            goals,
            self.note,
        ]


HEADINGS = ("part", "ours", "instead", "limit", "ours : instead", "ours : limit", "goal", "note")


def table(rows: list[Row]) -> str:
    """Markdown."""
    lines = [HEADINGS, ["---"] * len(HEADINGS), *(row.cells() for row in rows)]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _short(number: float | None) -> str:
    """Three digits are more than a shared machine lets one know."""
    if number is None:
        return ""
    return f"{number:,.0f}" if abs(number) >= 100 else f"{number:.3g}"
