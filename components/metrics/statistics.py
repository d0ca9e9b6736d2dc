"""What each metric is: a statistic of rows, one row an item, so that items can be resampled."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.float64]  # [items, values of one item]
Statistic = Callable[[Rows], float]  # nan where it is undefined


def ratio(rows: Rows) -> float:
    """Sum of the first values over the sum of the second: a share, when items are prompts of unequal weight."""
    total = rows[:, 1].sum()
    return float(rows[:, 0].sum() / total) if total else math.nan


def mean(rows: Rows) -> float:
    return float(rows[:, 0].mean()) if len(rows) else math.nan


def entropy(rows: Rows) -> float:
    """Entropy (bits) of the histogram whose counts are summed over the items."""
    counts = rows.sum(axis=0)
    if not counts.sum():
        return math.nan
    shares = counts[counts > 0] / counts.sum()
    return float(abs((shares * np.log2(shares)).sum()))


def length_controlled(rows: Rows) -> float:
    """AlpacaEval's length-controlled win rate, fitted anew; values: preference, lengths of model and reference in
    characters, the regularisation that cross-validation chose, and the instruction's difficulty where it is known."""
    from components.annotation.length_control import refit_win_rate  # scikit-learn, only where it is needed

    items, weights = np.unique(rows, axis=0, return_counts=True)
    difficulty = items[:, 4].tolist() if items.shape[1] > 4 else None
    return refit_win_rate(items[:, 0], items[:, 1], items[:, 2], difficulty, weights, float(items[0, 3]))


@dataclass(frozen=True)
class Metric:
    """A measured figure; `meaning` is for people who read a verdict or a report."""

    name: str
    statistic: Statistic
    meaning: str


_ALL = (
    # as a judge of human replies
    Metric("parse_rate", ratio, "judgements with a valid score, of all"),
    Metric("pairwise_accuracy", ratio, "reply pairs ordered as people did, score ties left out"),
    Metric("pairwise_accuracy_half", ratio, "reply pairs ordered as people did, a score tie counts half"),
    Metric("pairwise_accuracy_strict", ratio, "reply pairs ordered as people did, a score tie is wrong"),
    Metric("pairwise_tie_rate", ratio, "reply pairs with equal scores"),
    Metric("exact_match", mean, "prompts whose whole order agrees with people's, a score tie fails"),
    Metric("spearman", mean, "Spearman's correlation of score and human rank, mean over prompts"),
    Metric("kendall", mean, "Kendall's tau-b of score and human rank, mean over prompts"),
    Metric("five_best", ratio, "replies scored a perfect 5 that people ranked first"),
    # the judge's health
    Metric("score_entropy", entropy, "entropy of the scores in bits; 0 is a judge that always says the same"),
    Metric("score_tie_rate", mean, "prompts whose best and worst text have the same score"),
    Metric("score_variance", ratio, "variance among the K judgements of one text"),
    Metric("score_length_correlation", mean, "Spearman's correlation of score and length, mean over prompts"),
    # its answers
    Metric("answer_length", mean, "characters of an answer"),
    Metric("win_rate", mean, "answers preferred to the reference (AlpacaEval)"),
    Metric("lc_win_rate", length_controlled, "the same at equal length (AlpacaEval 2)"),
    Metric("net_win", mean, "prompts won less prompts lost against the model before, both orders"),
    Metric("exact_answers", mean, "answers equal to the reference answer"),
)
ROUND = "round_"  # prefix of the same health figures on the candidates of a round
METRICS: dict[str, Metric] = {metric.name: metric for metric in _ALL}
METRICS |= {
    ROUND + name: Metric(ROUND + name, METRICS[name].statistic, f"{METRICS[name].meaning} (on the round's candidates)")
    for name in ("parse_rate", "score_entropy", "score_tie_rate", "score_variance", "score_length_correlation")
}
METRICS["round_candidate_length"] = Metric("round_candidate_length", mean, "characters of a round's candidate")
