"""Rank correlations with ties, equal to those of scipy.stats: its import takes longer than all others of a pod."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def spearman(one: Sequence[float], other: Sequence[float]) -> float | None:
    """Spearman's rho, -1 to 1: Pearson's correlation of the ranks, where equal values share their mean rank.

    None where it is undefined: fewer than two values, or all values of one side the same.
    """
    if len(set(one)) < 2 or len(set(other)) < 2:
        return None
    ranks = np.stack([_ranks(one), _ranks(other)], axis=1)
    return float(np.asarray(np.corrcoef(ranks, rowvar=False))[1, 0])


def kendall(one: Sequence[float], other: Sequence[float]) -> float | None:
    """Kendall's tau-b, -1 to 1: concordant less discordant pairs, over the geometric mean of each side's untied pairs.

    None where it is undefined, as above. Memory grows with the square of the values: meant for the replies to a prompt.
    """
    if len(set(one)) < 2 or len(set(other)) < 2:
        return None
    pairs = np.triu_indices(len(one), 1)
    first, second = (np.sign(np.subtract.outer(values, values))[pairs] for values in (one, other))
    tau = (first * second).sum() / np.sqrt(np.count_nonzero(first)) / np.sqrt(np.count_nonzero(second))
    return float(np.clip(tau, -1, 1))


def _ranks(values: Sequence[float]) -> NDArray[np.float64]:
    """Ranks from 1; equal values get the mean of the ranks that they take together."""
    _, group, sizes = np.unique(np.asarray(values, dtype=np.float64), return_inverse=True, return_counts=True)
    return (np.cumsum(sizes) - (sizes - 1) / 2)[group]
