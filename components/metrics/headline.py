"""The dozen figures of a model that count: what the KFP UI compares runs by."""

from __future__ import annotations

from collections.abc import Mapping

# Of the model as a judge, of its answers, of its round as the policy. Intervals, item counts and the rest of a stage's
# figures are in its manifest, in MLflow and in the run's summary.
HEADLINE = (
    "parse_rate",
    "pairwise_accuracy",
    "spearman",
    "exact_match",
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
