"""The figures that show a judge's collapse, by hand."""

from __future__ import annotations

from collections.abc import Mapping
from math import log2, sqrt

import pytest
from scipy.stats import spearmanr

from components.core.records import Candidate, Judgement
from components.judging.health import judge_health, score_shares
from components.judging.judging import of_round
from components.judging.parser import BUILT_IN_FORMAT, ScoreFormat
from components.metrics.bootstrap import Resampling
from components.metrics.observations import figures


def judged(prompt: str, scores: Mapping[str, list[float | None]]) -> list[Judgement]:
    """K judgements of each text of a prompt, None is an unparsed one."""
    return [
        Judgement(
            id=f"{text}/{k}",
            prompt_id=prompt,
            candidate_id=text,
            completion="",
            finish_reason="stop",
            score=score,
            judge_prompt="-",
            seed=0,
            tokens=1,
        )
        for text, samples in scores.items()
        for k, score in enumerate(samples)
    ]


def health(*judgements: Judgement, **lengths: int) -> dict[str, dict[str, tuple[float, ...]]]:
    return judge_health(judgements, lambda id: lengths.get(id, 1), BUILT_IN_FORMAT)


def shares_of(score_format: ScoreFormat, scores: list[float | None]) -> dict[str, float]:
    return score_shares(judge_health(judged("p", {"a": scores}), lambda _: 1, score_format), score_format)


TWO_PROMPTS = [
    *judged("p", {"a": [5, 4, None], "b": [2, 2, 2]}),
    *judged("q", {"c": [None, None, None], "d": [3, None, None]}),
]


def test_each_prompt_has_its_own_observations() -> None:
    """p: 5 of 6 parsed, means 4.5 and 2, variances 1/2 (of 5, 4) and 0. q: 1 of 6 parsed, one text scored once."""
    found = health(*TWO_PROMPTS, a=7, b=9)
    assert found["parse_rate"] == {"p": (5, 6), "q": (1, 6)}
    assert found["score_entropy"] == {"p": (0, 0, 3, 0, 1, 1), "q": (0, 0, 0, 1, 0, 0)}
    assert found["score_tie_rate"] == {"p": (0,)}
    assert found["score_variance"] == {"p": (0.5, 2)}
    assert found["score_length_correlation"] == {"p": (pytest.approx(-1),)}


def test_figures_pool_the_observations_of_all_prompts() -> None:
    """6 of 12 parsed; the scores 2 2 2 3 4 5 have entropy 1/2 log2(2) + 3/6 log2(6) bits; variance (1/2 + 0) / 2."""
    found = figures(health(*TWO_PROMPTS), Resampling(resamples=10))
    assert found["parse_rate"] == 0.5
    assert found["score_entropy"] == pytest.approx(1 / 2 * log2(2) + 3 / 6 * log2(6))
    assert found["score_variance"] == 0.25
    assert found["score_tie_rate"] == 0


def test_a_judge_that_always_gives_one_score_has_no_entropy_and_ties_everywhere() -> None:
    """Entropy 0, every prompt tied, no variance; how its scores go with the length is undefined."""
    found = health(*judged("p", {"a": [5, 5], "b": [5, 5]}), *judged("q", {"c": [5, 5], "d": [5, 5]}), a=1, b=2, c=3)
    metrics = figures(found, Resampling(resamples=10))
    assert (metrics["score_entropy"], metrics["score_tie_rate"], metrics["score_variance"]) == (0, 1, 0)
    assert "score_length_correlation" not in found


def test_equal_means_of_different_scores_tie() -> None:
    """The means of 0.1 + 0.2 and of 0.15 + 0.15 differ in the last bit of a float, not as scores."""
    assert (0.1 + 0.2) / 2 != (0.15 + 0.15) / 2
    assert health(*judged("p", {"a": [0.1, 0.2], "b": [0.15, 0.15]}))["score_tie_rate"] == {"p": (1,)}
    assert health(*judged("p", {"a": [1, 2, 2], "b": [1, 2, 3]}))["score_tie_rate"] == {"p": (0,)}


def test_a_tie_is_of_the_best_and_the_worst() -> None:
    """Two of three texts are equal, but the best and the worst are not: the prompt still gives a pair."""
    assert health(*judged("p", {"a": [3], "b": [3], "c": [4]}))["score_tie_rate"] == {"p": (0,)}


@pytest.mark.parametrize(
    ("means", "lengths", "expected"),
    [
        ([1, 2, 3, 4], [10, 30, 20, 40], 1 - 6 * 2 / (4 * 15)),  # 1 - 6 sum(d^2) / n (n^2 - 1), d = 0 1 -1 0
        ([2, 2, 4], [10, 20, 30], 1.5 / sqrt(1.5 * 2)),  # ranks 1.5 1.5 3 and 1 2 3: covariance over deviations
        ([5, 3, 1], [1, 2, 300], -1),  # ranks, not lengths
    ],
)
def test_score_length_correlation_is_spearmans_by_hand_and_by_scipy(
    means: list[float], lengths: list[int], expected: float
) -> None:
    texts = {f"t{n}": length for n, length in enumerate(lengths)}
    found = health(*judged("p", {text: [mean] for text, mean in zip(texts, means, strict=True)}), **texts)
    assert found["score_length_correlation"]["p"] == (pytest.approx(expected),)
    assert expected == pytest.approx(spearmanr(means, lengths).statistic)


@pytest.mark.parametrize(
    ("scores", "absent"),
    [
        ({"a": [None], "b": [None]}, {"score_entropy", "score_tie_rate", "score_variance", "score_length_correlation"}),
        ({"a": [4, 3]}, {"score_tie_rate", "score_length_correlation"}),  # a single text
        ({"a": [4, 3], "b": [None, None]}, {"score_tie_rate", "score_length_correlation"}),
        ({"a": [4], "b": [3]}, {"score_variance"}),  # judged once
        ({"a": [4, 4], "c": [3, 3]}, {"score_length_correlation"}),  # equal lengths
        ({"a": [4, 4], "b": [3, 3]}, set()),
    ],
)
def test_undefined_figures_are_absent(scores: dict[str, list[float | None]], absent: set[str]) -> None:
    everything = {"parse_rate", "score_entropy", "score_tie_rate", "score_variance", "score_length_correlation"}
    assert set(health(*judged("p", scores), b=2)) == everything - absent


def test_the_histogram_leaves_unparsed_judgements_out() -> None:
    """2, 2.4 and 2.5 with one unparsed: two thirds at 2, one third at 3 (a half point counts upwards)."""
    shares = shares_of(BUILT_IN_FORMAT, [2, 2.4, 2.5, None])
    assert shares == {"score_0_share": 0, "score_1_share": 0, "score_2_share": 2 / 3} | {
        "score_3_share": 1 / 3,
        "score_4_share": 0,
        "score_5_share": 0,
    }
    assert shares_of(BUILT_IN_FORMAT, [None]) == {}


def test_the_histogram_follows_the_scale() -> None:
    """From 0 to 100 in tens: 91 and 94 are one bar, 95 and 100 the last; from 1 to 10 every point is one."""
    shares = shares_of(ScoreFormat(highest=100), [91, 94, 95, 100])
    assert len(shares) == 11
    assert (shares["score_90_share"], shares["score_100_share"]) == (0.5, 0.5)
    shares = shares_of(ScoreFormat(lowest=1, highest=10), [1, 10])
    assert list(shares) == [f"score_{n}_share" for n in range(1, 11)]
    assert (shares["score_1_share"], shares["score_10_share"]) == (0.5, 0.5)
    assert judge_health(judged("p", {"a": [7]}), lambda _: 0, ScoreFormat(highest=10))["score_entropy"] == {
        "p": (0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0)
    }


def test_a_rounds_health_has_names_of_its_own_and_the_candidates_lengths() -> None:
    """Mean length of 2 and 6 characters is 4; the texts judged are the candidates'."""
    common = {"prompt_id": "p", "prompt": "?", "finish_reason": "stop", "seed": 0, "tokens": 1}
    candidates = [Candidate(id="a", text="xx", **common), Candidate(id="b", text="yyyyyy", **common)]
    found = of_round(health(*judged("p", {"a": [1, 2], "b": [3, 4]}), a=2, b=6), candidates)
    assert found["round_candidate_length"] == {"p": (4,)}
    assert found["round_score_length_correlation"] == {"p": (pytest.approx(1),)}
    assert all(name.startswith("round_") for name in found)
