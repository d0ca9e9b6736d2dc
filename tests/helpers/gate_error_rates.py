"""How often the gate errs on made-up models: `python -m tests.helpers.gate_error_rates` prints docs/gate.md's tables.

Two models that are compared answer the same prompts, and a prompt that is easy for one is easy for the other. Prompts
are drawn anew in each simulated comparison, so the rates are those over other prompts of the same kind.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy.stats import rankdata

from components.gate.decide import decide
from components.gate.settings import GatePolicy
from components.metrics.bootstrap import Observed, Resampling, difference
from components.metrics.length_control import length_controlled_win_rate
from components.metrics.statistics import METRICS

Draws = np.random.Generator
Floats = np.ndarray
# The length-controlled win rate asks for a fit to each resample; the win rate takes its place in the same rules.
POLICY = GatePolicy(improve={"win_rate": 0.0}, regress={"win_rate": 0.05})
NO_MARGINS = GatePolicy(
    improve={"win_rate": 0.0},
    regress={"win_rate": 0.0, "pairwise_accuracy": 0.0, "parse_rate": 0.0},
    floors={"net_win": 0.0},
)
WIN_RATE, ACCURACY = 0.3, 0.75
# Beta distributions of a prompt's chance: their correlation between two draws is 1 / (a + b + 1).
WINS_AB, PAIRS_AB = (0.3, 0.7), (1.75, 1.75 / 3)


def rate(runs: int, happens: Callable[[Draws], bool], seed: int = 0) -> float:
    return sum(happens(np.random.default_rng([seed, n])) for n in range(runs)) / runs


def observed(rows: Floats, known: Floats | None = None) -> Observed:
    """The rows [items, values] as observations, without the items that are not `known`."""
    kept = range(len(rows)) if known is None else np.flatnonzero(known)
    return {f"{n:04}": tuple(map(float, rows[n])) for n in kept}


# -- one metric


def wins(easy: Floats, gain: float, draws: Draws) -> Observed:
    """Preferences of 0 or 1, their mean WIN_RATE + gain: a loss becomes a win, or a win a loss, that often."""
    won = draws.random(len(easy)) < easy
    turned = draws.random(len(easy)) < (gain / (1 - WIN_RATE) if gain > 0 else -gain / WIN_RATE)
    return observed(np.where(turned, gain > 0, won)[:, None])


def win_rates(items: int, gain: float, draws: Draws) -> tuple[Observed, Observed]:
    """A candidate and a champion whose win rates differ by `gain`."""
    easy = draws.beta(*WINS_AB, items)
    return wins(easy, gain, draws), wins(easy, 0, draws)


def is_promoted(items: int, gain: float, draws: Draws) -> bool:
    one, other = win_rates(items, gain, draws)
    return decide({"win_rate": one}, {"win_rate": other}, POLICY).decision == "promote"


def is_any_promoted(rounds: int, items: int, draws: Draws) -> bool:
    """Whether one of `rounds` models is promoted over the champion, though all are its equals."""
    easy = draws.beta(*WINS_AB, items)
    champion = {"win_rate": wins(easy, 0, draws)}
    verdicts = [decide({"win_rate": wins(easy, 0, draws)}, champion, POLICY) for _ in range(rounds)]
    return any(verdict.decision == "promote" for verdict in verdicts)


def is_win_loss_caught(items: int, loss: float, draws: Draws) -> bool:
    one, other = win_rates(items, -loss, draws)
    return decide({"win_rate": one}, {"win_rate": other}, POLICY).decision == "stop"


def is_accuracy_loss_caught(items: int, loss: float, draws: Draws) -> bool:
    """Three pairs a prompt; the candidate's judge turns that many of the pairs that it had right around."""
    easy = draws.beta(*PAIRS_AB, items)
    right = draws.binomial(3, easy), draws.binomial(3, easy * (1 - loss / ACCURACY))
    before, now = ({"pairwise_accuracy": observed(np.stack([one, np.full(items, 3)], 1))} for one in right)
    return decide(now, before, POLICY).decision == "stop"


# -- length


def preferred(easy: Floats, reference: Floats, longer: float, draws: Draws) -> dict[str, Observed]:
    """A model's answers, `longer` times 1,500 characters, by an annotator that likes merit, and length as well.

    The probability of preferring it is sigmoid(easy - 1 + noise + tanh(length difference / 1000)).
    """
    own = longer * 1500 * draws.gamma(4, 1 / 4, len(easy))
    won = 1 / (1 + np.exp(1 - easy - draws.normal(0, 1, len(easy)) - np.tanh((own - reference) / 1000)))
    fitted = length_controlled_win_rate(won, own, reference)
    rows = np.stack([won, own, reference, np.full(len(easy), fitted.regularisation if fitted else np.nan)], 1)
    return {"lc_win_rate": observed(rows), "win_rate": observed(rows[:, :1])}


def is_longer_promoted(items: int, longer: float, metric: str, draws: Draws) -> bool:
    """Whether a candidate that differs from the champion in nothing but length is promoted by that metric."""
    easy, reference = draws.normal(0, 1.5, items), 2000 * draws.gamma(4, 1 / 4, items)
    one, other = (preferred(easy, reference, factor, draws) for factor in (longer, 1.0))
    found = difference(METRICS[metric], one[metric], other[metric], Resampling(resamples=200))  # a fit to each resample
    return found.low is not None and found.low > 0


# -- everything that the default policy looks at


@dataclass(frozen=True)
class Prompts:
    """What two models have in common: prompts with three replies, and instructions.

    `merit`: what any judge sees in a reply, in points, which human ranks follow by and large; `lengths` in characters.
    """

    merit: Floats
    lengths: Floats
    easy: Floats


def draw_prompts(count: int, instructions: int, draws: Draws) -> Prompts:
    merit = 3.4 - 0.6 * np.arange(3) + draws.normal(0, 0.7, (count, 3))
    return Prompts(merit, draws.lognormal(6, 0.7, (count, 3)), draws.beta(*WINS_AB, instructions))


def scores(merit: Floats, noise: float, parsed: float, draws: Draws) -> Floats:
    """Three judgements of each reply [prompts, replies, 3], nan where one does not parse."""
    given = np.clip(np.rint(merit[..., None] + draws.normal(0, noise, (*merit.shape, 3))), 0, 5)
    return np.where(draws.random(given.shape) < parsed, given, np.nan)


def judge_figures(given: Floats, lengths: Floats) -> dict[str, Observed]:
    """The judge's metrics that the default policy names, by prompt; the same as the real functions observe."""
    valid = ~np.isnan(given)
    counted = valid.sum(2)
    means = np.where(counted > 0, np.nansum(given, 2) / np.maximum(counted, 1), np.nan)
    gaps = np.stack([means[:, 0] - means[:, 1], means[:, 0] - means[:, 2], means[:, 1] - means[:, 2]], 1)
    compared = ~np.isnan(gaps)
    histogram = np.stack([(given == score).sum((1, 2)) for score in range(6)], 1)
    spread = np.where(np.isnan(means), -np.inf, means).max(1) - np.where(np.isnan(means), np.inf, means).min(1)
    found = {
        "parse_rate": observed(np.stack([valid.sum((1, 2)), np.full(len(given), valid[0].size)], 1)),
        "pairwise_accuracy": observed(
            np.stack([(gaps > 1e-6).sum(1), (compared & (np.abs(gaps) > 1e-6)).sum(1)], 1), compared.any(1)
        ),
        "score_entropy": observed(histogram, histogram.any(1)),
        "score_tie_rate": observed((spread <= 1e-6)[:, None], compared.any(1)),
    }
    return found | _length_correlation(means, lengths)


def _length_correlation(means: Floats, lengths: Floats) -> dict[str, Observed]:
    """Of the prompts with a score for each reply alone: next to all of them where judgements parse."""
    whole = ~np.isnan(means).any(1)
    ranks, others = (rankdata(np.where(whole[:, None], one, 0), axis=1) - 2 for one in (means.round(6), lengths))
    with np.errstate(invalid="ignore"):
        found = (ranks * others).sum(1) / np.sqrt((ranks**2).sum(1) * (others**2).sum(1))
    return {"score_length_correlation": observed(found[:, None], whole & ~np.isnan(found))}


def model(common: Prompts, draws: Draws, noise: float = 0.8, parsed: float = 0.97) -> dict[str, Observed]:
    """All observations of one model: as a judge, in its round, and what it answers."""
    found = judge_figures(scores(common.merit, noise, parsed, draws), common.lengths)
    own = judge_figures(scores(draws.normal(3.4, 0.7, common.merit.shape), noise, parsed, draws), common.lengths)
    net = draws.choice([1.0, 0.0, -1.0], len(common.merit), p=[0.3, 0.4, 0.3])
    return found | {
        "round_parse_rate": own["parse_rate"],
        "round_score_tie_rate": own["score_tie_rate"],
        "round_score_length_correlation": own["score_length_correlation"],
        "net_win": observed(net[:, None]),
        "win_rate": wins(common.easy, 0, draws),
        "answer_length": observed(1500 * draws.gamma(4, 1 / 4, (len(common.easy), 1))),
    }


def is_equal_stopped(prompts: int, instructions: int, draws: Draws, policy: GatePolicy = POLICY) -> bool:
    """Whether any rule of the policy stops a model that is the equal of the one before it."""
    common = draw_prompts(prompts, instructions, draws)
    one, other = model(common, draws), model(common, draws)
    return decide(one, other, policy).decision == "stop"


def is_coin_stopped(prompts: int, draws: Draws) -> bool:
    """Whether a first model whose judge throws dice is stopped."""
    common = draw_prompts(prompts, prompts, draws)
    return decide(model(common, draws, noise=50.0), None, POLICY).decision == "stop"


def is_unparsed_caught(prompts: int, parsed: float, draws: Draws) -> bool:
    common = draw_prompts(prompts, prompts, draws)
    before, now = (scores(common.merit, 0.8, share, draws) for share in (0.97, parsed))
    figures = [{"parse_rate": judge_figures(given, common.lengths)["parse_rate"]} for given in (now, before)]
    return decide(figures[0], figures[1], POLICY).decision == "stop"


Row = tuple[str, Callable[[Draws], bool]]
ERRORS: list[Row] = [
    *((f"an equal is promoted, {n} instructions", partial(is_promoted, n, 0)) for n in (805, 200, 30)),
    *((f"one of {k} equals is promoted, 200 instructions", partial(is_any_promoted, k, 200)) for k in (2, 3)),
    *(
        (f"an equal is stopped by any rule, {n} prompts, {m} instructions", partial(is_equal_stopped, n, m))
        for n, m in ((190, 805), (60, 60), (30, 30))
    ),
    ("the same with no margin at all, 190 prompts", partial(is_equal_stopped, 190, 200, policy=NO_MARGINS)),
]
GAINS = ((0.05, 200), (0.05, 805), (0.1, 100), (0.1, 212), (0.2, 42), (0.2, 60))
WIN_LOSSES = ((0.05, 805), (0.1, 200), (0.1, 805), (0.15, 182), (0.2, 75))
ACCURACY_LOSSES = ((0.05, 190), (0.1, 190), (0.15, 90), (0.15, 190))
PARSED = ((0.8, 30), (0.8, 60))
POWER: list[Row] = [
    *((f"win rate +{g}, {n} instructions: promoted", partial(is_promoted, n, g)) for g, n in GAINS),
    *((f"win rate -{g}, {n} instructions: stopped", partial(is_win_loss_caught, n, g)) for g, n in WIN_LOSSES),
    *((f"accuracy -{g}, {n} prompts: stopped", partial(is_accuracy_loss_caught, n, g)) for g, n in ACCURACY_LOSSES),
    *((f"parse rate 0.97 to {p}, {n} prompts: stopped", partial(is_unparsed_caught, n, p)) for p, n in PARSED),
    *((f"a judge that throws dice, {n} prompts: stopped", partial(is_coin_stopped, n)) for n in (60, 190, 300)),
]
LENGTH: list[Row] = [
    (
        f"{longer} times as long and no better, {metric}, 200 instructions: promoted",
        partial(is_longer_promoted, 200, longer, metric),
    )
    for longer, metric in ((1.0, "lc_win_rate"), (1.4, "lc_win_rate"), (1.4, "win_rate"))
]


def print_rates(rows: Sequence[Row], runs: int) -> None:
    for name, happens in rows:
        found = rate(runs, happens)
        print(f"{100 * found:5.1f} % of {runs} (+-{196 * (found * (1 - found) / runs) ** 0.5:.1f})  {name}", flush=True)


if __name__ == "__main__":
    runs = [int(count) for count in sys.argv[1:]] or [2000, 1000, 100]
    for rows, count in zip((ERRORS, POWER, LENGTH), runs, strict=False):
        print_rates(rows if count else [], count)
