"""Several ways to do the same, one after the other and again: a machine that others use is slow for minutes."""

from __future__ import annotations

from collections.abc import Callable, Sequence


def best_in_turn(ways: Sequence[Callable[[], float]], times: int) -> list[float]:
    """The fewest seconds of each."""
    return [min(seconds) for seconds in zip(*([way() for way in ways] for _ in range(times)), strict=True)]
