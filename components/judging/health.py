"""Is a judge still a judge? Figures of its judgements that show collapse before answers do. The item is a prompt."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from statistics import fmean, variance

from components.core.records import Judgement
from components.judging.parser import ScoreFormat
from components.metrics.correlation import spearman
from components.metrics.observations import Measured, Values

SAME_SCORE = 1e-6  # means of K scores are sums of floats


def judge_health(
    judgements: Iterable[Judgement],
    length_of: Callable[[str], int],
    score_format: ScoreFormat,
    table: Callable[[], Values] = dict,
) -> dict[str, Values]:
    """Observations by metric and prompt, each metric's in a `table`; `length_of` says how long a judged text is, by
    candidate id.

    The judgements of a prompt stand together. One on which a figure is undefined has no observation of it.
    """
    health: dict[str, Values] = {}
    for prompt, group in groupby(judgements, lambda judgement: judgement.prompt_id):
        for metric, values in _of_prompt(list(group), length_of, score_format).items():
            if metric not in health:
                health[metric] = table()
            health[metric][prompt] = values
    return health


def score_shares(health: Measured, score_format: ScoreFormat) -> dict[str, float]:
    """The histogram: share of the parsed judgements by the nearest point of the scale; empty where none is parsed."""
    counts = Counter[float]()
    for histogram in health.get("score_entropy", {}).values():
        counts.update(dict(zip(score_format.points, histogram, strict=True)))
    return {f"score_{point:g}_share": count / counts.total() for point, count in counts.items()}


def _of_prompt(judgements: Sequence[Judgement], length_of: Callable[[str], int], score_format: ScoreFormat) -> Values:
    scores: dict[str, list[float]] = {}
    for judgement in judgements:
        if judgement.score is not None:
            scores.setdefault(judgement.candidate_id, []).append(judgement.score)
    parsed = [score for values in scores.values() for score in values]
    means = {id: fmean(values) for id, values in scores.items()}
    health: Values = {"parse_rate": (len(parsed), len(judgements))}
    if parsed:
        health["score_entropy"] = tuple(_histogram(parsed, score_format))
    if len(means) > 1:
        health["score_tie_rate"] = (float(max(means.values()) - min(means.values()) <= SAME_SCORE),)
    if repeated := [variance(values) for values in scores.values() if len(values) > 1]:
        health["score_variance"] = (sum(repeated), len(repeated))
    correlation = spearman(list(means.values()), list(map(length_of, means)))
    if correlation is not None:
        health["score_length_correlation"] = (correlation,)
    return health


def _histogram(scores: Sequence[float], score_format: ScoreFormat) -> list[float]:
    """Counts of the scores nearest to each point of the scale."""
    counts = Counter(score_format.nearest(score) for score in scores)
    return [float(counts[point]) for point in score_format.points]
