"""How often the gate is wrong, and how often it sees what is there; the rates are those that docs/gate.md states."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from scipy.stats import binom

from components.core.records import Judgement, Reply, SeedPrompt
from components.evaluation.evaluation import observe
from components.judging.judging import mean_scores
from components.judging.parser import BUILT_IN_FORMAT
from tests.helpers.gate_error_rates import (
    Floats,
    draw_prompts,
    is_accuracy_loss_caught,
    is_equal_stopped,
    is_promoted,
    is_unparsed_caught,
    is_win_loss_caught,
    judge_figures,
    rate,
    scores,
    win_rates,
)


def most(runs: int, share: float) -> float:
    """The share of the runs that is exceeded once in a thousand times, when `share` is what is to be expected."""
    return float(binom.ppf(0.999, runs, share)) / runs


def least(runs: int, share: float) -> float:
    return float(binom.ppf(0.001, runs, share)) / runs


@pytest.mark.slow
def test_an_equal_is_promoted_as_rarely_as_stated() -> None:
    """Half of 5 %: one side of the interval. The percentile bootstrap adds a little at 200 items: its standard error is
    sqrt(199 / 200) of the right one and 1.96 stands where t is 1.972, so 1.96 * 0.9975 / 1.972 gives 2.6 %.

    Of 500 equals 13 are to be expected; more than 25 are a chance of one in a thousand. None at all would be one in
    half a million: a gate that promotes nobody.
    """
    found = rate(500, partial(is_promoted, 200, 0.0))
    assert 0 < found <= most(500, 0.026)


@pytest.mark.slow
@pytest.mark.parametrize(("prompts", "instructions"), [(190, 200), (30, 30)])
def test_an_equal_is_stopped_by_no_rule(prompts: int, instructions: int) -> None:
    """All rules of the default policy together: at most 2.5 %.

    Each rule alone errs in 2.5 % where a model stands on its threshold. An equal stands the margin away from it: at 30
    instructions the difference of win rates has standard error 0.458 / sqrt(30) = 0.084, and a stop needs
    -0.05 - 1.96 * 0.084 = -0.214, 2.6 of them: 0.5 %. Accuracy (0.05 at 0.06) and net wins (0.1 at 0.14) are as far.
    """
    assert rate(150, partial(is_equal_stopped, prompts, instructions)) <= most(150, 0.025)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("is_seen", "items", "points"),
    [(is_promoted, 212, 0.1), (is_win_loss_caught, 182, 0.15), (is_accuracy_loss_caught, 90, 0.15)],
)
def test_a_difference_is_seen_as_often_as_the_normal_approximation_says(is_seen, items: int, points: float) -> None:  # type: ignore[no-untyped-def]
    """80 % where the distance to the threshold is 1.96 + 0.84 = 2.8 standard errors: items = (2.8 * sd / distance)^2.
    The distance is 0.1 in each case: a gain of 0.1, or a loss of 0.15 of which 0.05 is allowed.

    Win rates: preferences of 0 or 1, 0.3 the champion's mean, covariance 0.105 between equals (correlation 0.5). A gain
    of 0.1 turns a seventh of the losses around: variance 0.4 * 0.6 + 0.3 * 0.7 - 2 * (6/7) * 0.105 = 0.27, 212 items.
    A loss of 0.15 turns half of the wins around: 0.15 * 0.85 + 0.3 * 0.7 - 2 * 0.5 * 0.105 = 0.2325, 182 items.
    Accuracy: three pairs a prompt, chance q of mean 0.75 and variance 0.1875 * 0.3 (the beta's 1 / (a + b + 1)), so
    E q^2 = 0.619; a loss of 0.15 makes it 0.8 q. Variance (0.75 - 0.619) / 3 + (0.6 - 0.64 * 0.619) / 3 +
    0.2^2 * 0.1875 * 0.3 = 0.114, 90 prompts.
    """
    found = rate(200, partial(is_seen, items, points))
    assert least(200, 0.78) <= found <= most(200, 0.82)


@pytest.mark.slow
def test_a_loss_that_is_allowed_is_not_caught() -> None:
    """On the threshold itself the rule errs in one of forty."""
    assert rate(300, partial(is_win_loss_caught, 200, 0.05)) <= most(300, 0.027)


@pytest.mark.slow
def test_a_judge_that_parses_less_is_caught_with_sixty_prompts() -> None:
    """From 97 to 80 % of nine judgements a prompt: a loss of 0.17 with standard error
    sqrt((0.97 * 0.03 + 0.8 * 0.2) / 540) = 0.019, and 0.1 is allowed: 0.07 is 3.7 of them, so 96 % are caught.
    """
    assert rate(150, partial(is_unparsed_caught, 60, 0.8)) >= least(150, 0.95)


def test_the_made_up_win_rates_differ_by_what_they_say() -> None:
    """0.3 and 0.4, and a correlation of 1 / (0.3 + 0.7 + 1) = 0.5 between two equal models."""
    draws = np.random.default_rng(0)
    better, champion = (np.array(list(one.values()))[:, 0] for one in win_rates(40_000, 0.1, draws))
    assert (champion.mean(), better.mean()) == (pytest.approx(0.3, abs=0.01), pytest.approx(0.4, abs=0.01))
    equal, champion = (np.array(list(one.values()))[:, 0] for one in win_rates(40_000, 0.0, draws))
    assert np.corrcoef(equal, champion)[0, 1] == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("parsed", [1.0, 0.4])
def test_the_quick_figures_are_those_of_the_real_functions(parsed: float) -> None:
    """The simulation takes short cuts through arrays: on the same scores it must observe the same as an evaluation."""
    draws = np.random.default_rng(5)
    common = draw_prompts(40, 40, draws)
    given = scores(common.merit, 0.8, parsed, draws)
    found, real = judge_figures(given, common.lengths), _real_figures(given, common.lengths)
    for metric, values in found.items():
        whole = values.keys() if metric == "score_length_correlation" else real[metric].keys()
        assert values == {item: pytest.approx(real[metric][item]) for item in whole}, metric


def _real_figures(given: Floats, lengths: Floats) -> dict[str, dict[str, tuple[float, ...]]]:
    prompts = [
        SeedPrompt(
            id=f"{n:04}",
            text="q",
            replies=[
                Reply(id=f"{n:04}-{rank}", text="x" * int(1000 * size), rank=rank) for rank, size in enumerate(row)
            ],
        )
        for n, row in enumerate(lengths / lengths.max())
    ]
    judgements = [
        _judgement(f"{n:04}", f"{n:04}-{rank}", k, float(score))
        for n, replies in enumerate(given)
        for rank, samples in enumerate(replies)
        for k, score in enumerate(samples)
    ]
    return observe(prompts, judgements, mean_scores(judgements), [], BUILT_IN_FORMAT)


def _judgement(prompt: str, reply: str, sample: int, score: float) -> Judgement:
    return Judgement(
        id=f"{reply}/{sample}",
        prompt_id=prompt,
        candidate_id=reply,
        completion="",
        finish_reason="stop",
        score=None if np.isnan(score) else score,
        judge_prompt="",
        seed=sample,
        tokens=1,
    )
