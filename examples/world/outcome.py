"""What came out of one run of the world, model by model, and what it shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

from components.metrics.bootstrap import Estimate, Resampling, difference
from components.metrics.observations import Measured, read_measured
from components.metrics.statistics import METRICS
from examples.world.conditions import METHOD, SHUFFLED, TOO_HARD

SAMPLED, GREEDY = "exact_answers", "exact_answers_greedy"
# About 180 pairs made at random agree with truth in half of the cases, give or take 1 / sqrt(180) = 7 % of what right
# pairs would teach, 0.1 a round. So luck moves the accuracy by about 0.01 in three rounds, up or down; twice that is
# the gain that the recipe's gate asks for as well.
LUCK = 0.02


@dataclass(frozen=True)
class MeasuredModel:
    """M1, M2, ...: figures with their intervals, the observations behind them, the gate's verdict.

    `pairs` is the number of pairs that the model made for the next one, None where it made none.
    """

    name: str
    metrics: Mapping[str, float]
    observed: Measured
    pairs: int | None
    verdict: str
    reasons: Sequence[str]


@dataclass(frozen=True)
class Outcome:
    """The models of one run, the first one M1."""

    condition: str
    seed: int
    models: Sequence[MeasuredModel]
    stopped_by: str | None = None

    def gain(self, metric: str, model: int = -1) -> Estimate:
        """The metric of a model (the last one) less that of M1, paired by question."""
        one, first = self.models[model].observed[metric], self.models[0].observed[metric]
        return difference(METRICS[metric], one, first, Resampling(seed=self.seed))

    @property
    def title(self) -> str:
        return f"{self.condition}, seed {self.seed}"


class Claim(NamedTuple):
    """Something that the method promises, and whether it was seen."""

    text: str
    holds: bool


def read_outcome(condition: str, seed: int, summary: Mapping[str, Any]) -> Outcome:
    """The outcome of a run by its summary; reads the observations from the store."""
    pairs = {one["name"]: one["metrics"].get("pairs") for one in summary["rounds"]}
    models = [
        MeasuredModel(
            name=one["name"],
            metrics=one["metrics"],
            observed=read_measured(one["measured"]),
            pairs=pairs.get(one["name"]),
            verdict=one["verdict"],
            reasons=one["reasons"],
        )
        for one in summary["models"]
        if one["verdict"]  # the SFT baseline passes no gate
    ]
    return Outcome(condition, seed, models, summary["stopped_by"])


def claims(outcome: Outcome) -> list[Claim]:
    """What must be seen of an outcome in its condition."""
    found = {METHOD.name: _method, SHUFFLED.name: _shuffled, TOO_HARD.name: _too_hard}[outcome.condition](outcome)
    return [Claim(f"{outcome.title}: {text}", holds) for text, holds in found]


def _method(outcome: Outcome) -> list[Claim]:
    accuracies = [model.metrics[SAMPLED] for model in outcome.models]
    names = " < ".join(model.name.upper() for model in outcome.models)
    return [
        Claim(f"sampled answers get better, {names}", all(a < b for a, b in pairwise(accuracies))),
        Claim(f"sampled, {_gained(outcome, SAMPLED)}", _proven(outcome.gain(SAMPLED))),
        Claim(f"greedy, {_gained(outcome, GREEDY)}", _proven(outcome.gain(GREEDY))),
        Claim("every model is promoted", all(model.verdict == "promote" for model in outcome.models)),
    ]


def _shuffled(outcome: Outcome) -> list[Claim]:
    later = range(1, len(outcome.models))
    return [
        Claim(
            f"no gain beyond luck ({LUCK}), {_gained(outcome, SAMPLED)}",
            not any(_proven(outcome.gain(SAMPLED, n), LUCK) for n in later),
        ),
        Claim("no model after M1 is promoted", all(outcome.models[n].verdict != "promote" for n in later)),
    ]


def _too_hard(outcome: Outcome) -> list[Claim]:
    reasons = "; ".join(reason for model in outcome.models if model.verdict == "stop" for reason in model.reasons)
    return [Claim(f"stopped at M2, before a second bad round trains ({reasons or 'no'})", outcome.stopped_by == "m2")]


def _proven(gain: Estimate, margin: float = 0.0) -> bool:
    return gain.low is not None and gain.low > margin


def _gained(outcome: Outcome, metric: str) -> str:
    gain = outcome.gain(metric)
    interval = "" if gain.low is None else f" ({gain.low:+.3f} to {gain.high:+.3f})"
    return f"{outcome.models[-1].name.upper()} less M1 {gain.value:+.3f}{interval}"
