"""The interval of a share of sampled items, some of which stand for more of what they were drawn from than others.

A bootstrap of few labels that all agree has no width; Wilson's score interval (Wilson 1927) has one. With weights it
takes Kish's effective number of items (Kish 1965), (sum of weights)^2 / sum of squared weights: unequal ones say
less.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Share(NamedTuple):
    """A share with its interval, and how many items weigh in; None where none does."""

    value: float | None
    low: float | None
    high: float | None
    items: int


def wilson(rows: NDArray[np.float64], confidence: float) -> Share:
    """`rows` [items, 2]: an item's weight times what of it agrees (0 to 1), and its weight."""
    weights = rows[:, 1]
    items = int((weights > 0).sum())
    if not items:
        return Share(None, None, None, 0)
    effective = float(weights.sum() ** 2 / (weights**2).sum())
    share = float(rows[:, 0].sum() / weights.sum())
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    centre = (share + z**2 / (2 * effective)) / (1 + z**2 / effective)
    reach = z * math.sqrt(share * (1 - share) / effective + z**2 / (4 * effective**2)) / (1 + z**2 / effective)
    return Share(share, max(0.0, centre - reach), min(1.0, centre + reach), items)
