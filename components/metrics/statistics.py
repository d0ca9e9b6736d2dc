"""What each metric is: a statistic of rows, one row an item, so that items can be resampled."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.float64]  # [..., items, values of one item]; resamples are stacked before the items
Statistic = Callable[[Rows], NDArray[np.float64]]  # [...]; nan where it is undefined


def ratio(rows: Rows) -> NDArray[np.float64]:
    """Sum of the first values over the sum of the second: a share, when items are prompts of unequal weight."""
    return divided(rows[..., 0].sum(-1), rows[..., 1].sum(-1))


def mean(rows: Rows) -> NDArray[np.float64]:
    return np.asarray(rows[..., 0].mean(-1))


def entropy(rows: Rows) -> NDArray[np.float64]:
    """Entropy (bits) of the histogram whose counts are summed over the items."""
    counts = rows.sum(-2)
    shares = divided(counts, counts.sum(-1, keepdims=True))
    logarithms = np.log2(shares, out=np.zeros_like(shares), where=shares != 0)
    return np.abs((shares * logarithms).sum(-1))


def divided(one: Any, other: Any) -> NDArray[np.float64]:
    """Element by element; nan where the divisor is 0."""
    ones, others = np.broadcast_arrays(one, other)
    return np.divide(ones, others, out=np.full(ones.shape, np.nan), where=others != 0)


def length_controlled(rows: Rows) -> NDArray[np.float64]:
    """AlpacaEval's length-controlled win rate, fitted anew.

    An item's values: its preference (nan without a valid annotation), the lengths of the model's and the reference's
    output in characters, the regularisation that cross-validation chose, then, where known, the instruction's
    difficulty, and preference and standardised length of each gamed baseline.
    """
    return _length_controlled(rows, chosen_before=lambda preferences: True)


def length_controlled_resample(rows: Rows) -> NDArray[np.float64]:
    """The same of resamples. Of hard preferences the penalty is chosen anew, as on other instructions it would be."""
    from components.metrics.length_control import are_hard

    return _length_controlled(rows, chosen_before=lambda preferences: not are_hard(preferences))


def _length_controlled(rows: Rows, chosen_before: Callable[[Rows], bool]) -> NDArray[np.float64]:
    from components.metrics.length_control import gamed_rows, refit_win_rates, regression

    if not rows.shape[-2]:
        return np.full(rows.shape[:-2], np.nan)
    fitted, chosen = [], []
    for sample in rows.reshape(-1, *rows.shape[-2:]):
        difficulty = gamed = None
        if sample.shape[1] > 4:
            difficulty, others = sample[:, 4], sample[:, 5:]
            gamed = gamed_rows(difficulty, others.reshape(len(sample), others.shape[1] // 2, 2))
        fitted.append(regression(sample[:, 0], sample[:, 1], sample[:, 2], difficulty, gamed))
        chosen.append(float(sample[0, 3]) if chosen_before(sample[:, 0]) else None)
    return np.reshape(refit_win_rates(fitted, chosen), rows.shape[:-2])


@dataclass(frozen=True)
class Metric:
    """A measured figure; `meaning` is for people who read a verdict or a report.

    `resampled` is its statistic on resamples, where what is chosen once for the figure is chosen anew on each of them.
    A `labelled` one is a share of items that people labelled, weighted by what each stands for (components/review).
    A `published` metric comes as one item (figure, standard error, questions) from a tool that has computed it.
    """

    name: str
    statistic: Statistic
    meaning: str
    resampled: Statistic | None = None
    published: bool = False
    labelled: bool = False

    def weighing(self, rows: Rows) -> int:
        """How many items weigh in: of a share, those that have something to count; else those that have a value."""
        if not len(rows):
            return 0
        return int((rows[:, 1] > 0).sum() if self.statistic is ratio else (~np.isnan(rows[:, 0])).sum())


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
    Metric("five_best", ratio, "replies with a perfect score that people ranked first"),
    # the judge's health
    Metric("score_entropy", entropy, "entropy of the scores in bits; 0 is a judge that always says the same"),
    Metric("score_tie_rate", mean, "prompts whose best and worst text have the same score"),
    Metric("score_variance", ratio, "variance among the K judgements of one text"),
    Metric("score_length_correlation", mean, "Spearman's correlation of score and length, mean over prompts"),
    # its answers
    Metric("answer_length", mean, "characters of an answer"),
    Metric("win_rate", mean, "answers preferred to the reference (AlpacaEval)"),
    Metric(
        "lc_win_rate",
        length_controlled,
        "the same at equal length (AlpacaEval 2)",
        resampled=length_controlled_resample,
    ),
    Metric("mt_bench", ratio, "rating of an answer to MT-Bench, 1 to 10"),
    Metric("net_win", mean, "prompts won less prompts lost against the model before, both orders"),
    Metric("exact_answers", mean, "answers equal to the reference answer"),
    Metric("exact_answers_greedy", mean, "greedy answers equal to the reference answer"),
    # what people say of the preferences that it was trained on, and of those by which it won (srlm review)
    Metric("human_agreement", ratio, "pairs that people order as the judge did, people's ties left out", labelled=True),
    Metric("human_agreement_with_ties", ratio, "the same with ties, of people and of the judge", labelled=True),
    Metric("human_within_one", ratio, "answers that people give the judge's score, within one point", labelled=True),
    Metric("human_annotator_agreement", ratio, "answers that people order as the annotator did", labelled=True),
    Metric("human_annotator_agreement_with_ties", ratio, "the same with ties of both", labelled=True),
    # what DPO did to pairs of its round that it was not trained on (held out)
    Metric("held_out_margin", mean, "DPO's implicit reward of the chosen answer less that of the rejected"),
    Metric("held_out_accuracy", mean, "pairs whose margin is above 0"),
    Metric("held_out_loss", mean, "DPO's loss in nats; ln 2 = 0.693 is the model before"),
    Metric("held_out_chosen_drift", mean, "log-probability of the chosen answer less the model before's, in nats"),
    Metric("held_out_rejected_drift", mean, "log-probability of the rejected answer less the model before's, in nats"),
)
ROUND = "round_"  # prefix of the same health figures on the candidates of a round
HUMAN = "human_"  # prefix of what rests on people's labels
BENCHMARK = "benchmark_"  # prefix of the lm-eval harness's figures, whose names depend on the tasks


class _Metrics(dict[str, Metric]):
    """Metrics by name; any name with the prefix BENCHMARK is one, though it is not listed."""

    def __missing__(self, name: str) -> Metric:
        if not name.startswith(BENCHMARK):
            raise KeyError(name)
        return Metric(name, mean, "by the lm-eval harness", published=True)


METRICS = _Metrics({metric.name: metric for metric in _ALL})
METRICS |= {
    ROUND + name: Metric(ROUND + name, METRICS[name].statistic, f"{METRICS[name].meaning} (on the round's candidates)")
    for name in ("parse_rate", "score_entropy", "score_tie_rate", "score_variance", "score_length_correlation")
}
METRICS["round_candidate_length"] = Metric("round_candidate_length", mean, "characters of a round's candidate")


# The figures that count, by which the KFP UI compares runs: of the model as a judge, of its answers, of its
# round as the policy. Intervals, item counts and the rest are in the manifests, in MLflow and in the run's summary.
HEADLINE = (
    "parse_rate",
    "pairwise_accuracy",
    "spearman",
    "exact_match",
    "human_agreement",
    "win_rate",
    "lc_win_rate",
    "net_win",
    "exact_answers",
    "mt_bench",
    "answer_length",
    "round_parse_rate",
    "round_score_tie_rate",
)


def headline(metrics: Mapping[str, float]) -> dict[str, float]:
    """Those of the figures that are known of the model."""
    return {name: metrics[name] for name in HEADLINE if name in metrics}
