"""How far a figure lies apart between trainings that differ in their seed alone: what one more of them might give.

An interval over prompts says how sure the figure of one model is; it knows nothing of the model that another seed would
have made.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean, stdev
from typing import NamedTuple


class Spread(NamedTuple):
    """A figure of several trainings, in its own unit: mean and standard deviation (by n - 1).

    `low` and `high` are Student's prediction interval: where one more training would lie, at the confidence that was
    asked for. They and the deviation are None with fewer than two trainings, everything is None with none.
    """

    mean: float | None
    deviation: float | None
    low: float | None
    high: float | None


def spread(values: Sequence[float], confidence: float) -> Spread:
    """The spread of one value a training; a training in which the figure is undefined gives none.

    Of n trainings the next one lies within t(n - 1) * deviation * sqrt(1 + 1/n) of their mean, as the deviation and the
    mean are themselves only estimates: 15.6 deviations with two trainings, 5.0 with three, 3.0 with five.
    """
    if not values:
        return Spread(None, None, None, None)
    count, mean = len(values), fmean(values)
    if count < 2:
        return Spread(mean, None, None, None)
    from scipy.stats import t  # scikit-learn brings it; slow to import, so not where every step would

    deviation = stdev(values)
    reach = float(t.ppf((1 + confidence) / 2, count - 1)) * deviation * math.sqrt(1 + 1 / count)
    return Spread(mean, deviation, mean - reach, mean + reach)
