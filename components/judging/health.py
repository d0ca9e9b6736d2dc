"""Is a judge still a judge? Figures of its judgements that show collapse before answers do. The item is a prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean, variance

from scipy.stats import spearmanr

from components.judging.parser import HIGHEST, LOWEST
from components.records import Judgement

SCORES = range(int(LOWEST), int(HIGHEST) + 1)
SAME_SCORE = 1e-6  # means of K scores are sums of floats
Values = dict[str, tuple[float, ...]]


def judge_health(judgements: Sequence[Judgement], texts: Mapping[str, str]) -> dict[str, Values]:
    """Observations by metric and prompt; `texts` are the judged texts by candidate id.

    A prompt on which a figure is undefined has no observation of it.
    """
    by_prompt: dict[str, list[Judgement]] = {}
    for one in judgements:
        by_prompt.setdefault(one.prompt_id, []).append(one)
    found: dict[str, Values] = {}
    for prompt, group in by_prompt.items():
        for metric, values in _of_prompt(group, texts).items():
            found.setdefault(metric, {})[prompt] = values
    return found


def score_shares(judgements: Sequence[Judgement]) -> dict[str, float]:
    """The histogram: share of the parsed judgements by score, rounded to a whole point."""
    scores = [one.score for one in judgements if one.score is not None]
    counts = _histogram(scores)
    return {f"score_{n}_share": count / len(scores) for n, count in zip(SCORES, counts, strict=True)} if scores else {}


def _of_prompt(judgements: Sequence[Judgement], texts: Mapping[str, str]) -> Values:
    scores: dict[str, list[float]] = {}
    for one in judgements:
        if one.score is not None:
            scores.setdefault(one.candidate_id, []).append(one.score)
    parsed = [score for values in scores.values() for score in values]
    means = {id: fmean(values) for id, values in scores.items()}
    found: Values = {"parse_rate": (len(parsed), len(judgements))}
    found |= {"score_entropy": tuple(_histogram(parsed))} if parsed else {}
    return found | _tie(means) | _variance(scores) | _length_correlation(means, texts)


def _histogram(scores: Sequence[float]) -> list[float]:
    """Counts of the scores 0, 1, ... 5; a half point counts upwards."""
    return [float(sum(int(score + 0.5) == n for score in scores)) for n in SCORES]


def _tie(means: Mapping[str, float]) -> Values:
    if len(means) < 2:
        return {}
    return {"score_tie_rate": (float(max(means.values()) - min(means.values()) <= SAME_SCORE),)}


def _variance(scores: Mapping[str, Sequence[float]]) -> Values:
    repeated = [variance(values) for values in scores.values() if len(values) > 1]
    return {"score_variance": (sum(repeated), len(repeated))} if repeated else {}


def _length_correlation(means: Mapping[str, float], texts: Mapping[str, str]) -> Values:
    lengths = [len(texts[id]) for id in means]
    if len(set(means.values())) < 2 or len(set(lengths)) < 2:
        return {}
    return {"score_length_correlation": (float(spearmanr(list(means.values()), lengths).statistic),)}
