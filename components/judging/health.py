"""Is a judge still a judge? Figures of its judgements that show collapse before answers do. The item is a prompt."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import fmean, variance

from components.core.records import Judgement
from components.judging.parser import ScoreFormat
from components.metrics.correlation import spearman

SAME_SCORE = 1e-6  # means of K scores are sums of floats
Values = dict[str, tuple[float, ...]]


def judge_health(
    judgements: Sequence[Judgement], texts: Mapping[str, str], score_format: ScoreFormat
) -> dict[str, Values]:
    """Observations by metric and prompt; `texts` are the judged texts by candidate id,
    `score_format` has the scores' range.

    A prompt on which a figure is undefined has no observation of it.
    """
    by_prompt: dict[str, list[Judgement]] = {}
    for one in judgements:
        by_prompt.setdefault(one.prompt_id, []).append(one)
    found: dict[str, Values] = {}
    for prompt, group in by_prompt.items():
        for metric, values in _of_prompt(group, texts, score_format).items():
            found.setdefault(metric, {})[prompt] = values
    return found


def score_shares(judgements: Sequence[Judgement], score_format: ScoreFormat) -> dict[str, float]:
    """The histogram: share of the parsed judgements by the nearest point of the scale."""
    scores = [one.score for one in judgements if one.score is not None]
    if not scores:
        return {}
    counts = zip(score_format.points, _histogram(scores, score_format), strict=True)
    return {f"score_{point:g}_share": count / len(scores) for point, count in counts}


def _of_prompt(judgements: Sequence[Judgement], texts: Mapping[str, str], score_format: ScoreFormat) -> Values:
    scores: dict[str, list[float]] = {}
    for one in judgements:
        if one.score is not None:
            scores.setdefault(one.candidate_id, []).append(one.score)
    parsed = [score for values in scores.values() for score in values]
    means = {id: fmean(values) for id, values in scores.items()}
    found: Values = {"parse_rate": (len(parsed), len(judgements))}
    found |= {"score_entropy": tuple(_histogram(parsed, score_format))} if parsed else {}
    return found | _tie(means) | _variance(scores) | _length_correlation(means, texts)


def _histogram(scores: Sequence[float], score_format: ScoreFormat) -> list[float]:
    """Counts of the scores nearest to each point of the scale."""
    counts = Counter(score_format.nearest(score) for score in scores)
    return [float(counts[point]) for point in score_format.points]


def _tie(means: Mapping[str, float]) -> Values:
    if len(means) < 2:
        return {}
    return {"score_tie_rate": (float(max(means.values()) - min(means.values()) <= SAME_SCORE),)}


def _variance(scores: Mapping[str, Sequence[float]]) -> Values:
    repeated = [variance(values) for values in scores.values() if len(values) > 1]
    return {"score_variance": (sum(repeated), len(repeated))} if repeated else {}


def _length_correlation(means: Mapping[str, float], texts: Mapping[str, str]) -> Values:
    correlation = spearman(list(means.values()), [len(texts[id]) for id in means])
    return {} if correlation is None else {"score_length_correlation": (correlation,)}
