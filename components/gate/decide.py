"""The gate's decision: a pure function of what was observed of two models, and of the policy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from components.gate.settings import GatePolicy
from components.metrics.bootstrap import Estimate, Observed, difference, growth, interval
from components.metrics.observations import Measured
from components.metrics.statistics import METRICS
from components.records import Check

LENGTH, BETTER = "answer_length", "lc_win_rate"


@dataclass(frozen=True)
class Verdict:
    """promote: better, by proof. hold: not proven better; the run goes on. stop: proven worse or no judge any more."""

    decision: Literal["promote", "hold", "stop"]
    reasons: list[str]
    checks: list[Check]


def decide(
    candidate: Measured, champion: Measured | None, policy: GatePolicy, previous: Measured | None = None
) -> Verdict:
    """Whether the candidate becomes champion, and whether its run may go on.

    Floors and ceilings are absolute; regressions and growth are measured against `previous`, the model before it in its
    run (None: the champion, if there is one); promotion needs an improvement over the champion. Without a
    champion, what nothing speaks against is promoted.
    """
    before = previous if previous is not None else champion
    checks = [*_floors(candidate, policy), *_ceilings(candidate, policy)]
    if before is not None:
        checks += [*_regressions(candidate, before, policy), *_growth(candidate, before, policy)]
    failed = [check.reason for check in checks if check.outcome == "fail"]
    if champion is not None:
        checks += _improvements(candidate, champion, policy)
    if failed:
        return Verdict("stop", failed, checks)
    if champion is None:
        return Verdict("promote", ["there is no champion yet, and nothing speaks against this model"], checks)
    improvements = [check for check in checks if check.rule == "improvement"]
    missing = [check.reason for check in improvements if check.outcome != "pass"]
    if missing or not improvements:
        return Verdict("hold", missing or ["the policy names no metric to improve"], checks)
    return Verdict("promote", [check.reason for check in improvements], checks)


def _floors(candidate: Measured, policy: GatePolicy) -> Iterator[Check]:
    for name, floor in policy.floors.items():
        estimate = interval(METRICS[name], candidate.get(name, {}), policy.resampling())
        below = estimate.high is not None and estimate.high < floor
        yield _check("floor", name, estimate, policy, failed=below, rule_text=f"floor {floor:g}")


def _ceilings(candidate: Measured, policy: GatePolicy) -> Iterator[Check]:
    for name, ceiling in policy.ceilings.items():
        estimate = interval(METRICS[name], candidate.get(name, {}), policy.resampling())
        above = estimate.low is not None and estimate.low > ceiling
        yield _check("ceiling", name, estimate, policy, failed=above, rule_text=f"ceiling {ceiling:g}")


def _regressions(candidate: Measured, before: Measured, policy: GatePolicy) -> Iterator[Check]:
    for name, margin in policy.regress.items():
        estimate = _difference(name, candidate, before, policy)
        worse = estimate.high is not None and estimate.high < -margin
        yield _check("regression", name, estimate, policy, failed=worse, rule_text=f"a loss of {margin:g} is allowed")


def _growth(candidate: Measured, before: Measured, policy: GatePolicy) -> Iterator[Check]:
    if policy.longest_growth is None:
        return
    estimate = growth(METRICS[LENGTH], *_both(LENGTH, candidate, before), policy.resampling())
    longer = estimate.low is not None and estimate.low > policy.longest_growth
    better = _difference(BETTER, candidate, before, policy).low
    text = f"{policy.longest_growth:g} times as long is allowed, unless {BETTER} is better"
    yield _check("growth", LENGTH, estimate, policy, failed=longer and not (better or 0) > 0, rule_text=text)


def _improvements(candidate: Measured, champion: Measured, policy: GatePolicy) -> Iterator[Check]:
    for name, margin in policy.improve.items():
        estimate = _difference(name, candidate, champion, policy)
        proven = estimate.low is not None and estimate.low > margin
        text = f"more than {margin:g} must be gained"
        yield _check("improvement", name, estimate, policy, failed=not proven, rule_text=text)


def _difference(name: str, candidate: Measured, other: Measured, policy: GatePolicy) -> Estimate:
    return difference(METRICS[name], *_both(name, candidate, other), policy.resampling())


def _both(name: str, one: Measured, other: Measured) -> tuple[Observed, Observed]:
    return one.get(name, {}), other.get(name, {})


RuleName = Literal["floor", "ceiling", "regression", "growth", "improvement"]
WHAT = {
    "floor": "{metric} is {value}",
    "ceiling": "{metric} is {value}",
    "regression": "{metric} changed by {value} against the model before",
    "growth": "answers are {value} times as long as those of the model before",
    "improvement": "{metric} changed by {value} against the champion",
}


def _check(rule: RuleName, metric: str, estimate: Estimate, policy: GatePolicy, failed: bool, rule_text: str) -> Check:
    """One rule's outcome in words; with too few items, or without an interval, it is unknown."""
    known = estimate.low is not None and estimate.items >= policy.min_items
    outcome: Literal["pass", "fail", "unknown"] = "unknown" if not known else "fail" if failed else "pass"
    return Check(
        id=f"{rule}/{metric}",
        rule=rule,
        metric=metric,
        outcome=outcome,
        value=estimate.value,
        low=estimate.low,
        high=estimate.high,
        items=estimate.items,
        reason=f"{_what(rule, metric, estimate, policy)}: {rule_text}",
    )


def _what(rule: RuleName, metric: str, estimate: Estimate, policy: GatePolicy) -> str:
    if estimate.items == 0:
        return (
            f"{metric} was not measured"
            if rule in ("floor", "ceiling")
            else f"{metric} was not measured on both models"
        )
    if estimate.value is None:
        return f"{metric} is undefined on {estimate.items} items"
    sign = "+" if rule in ("regression", "improvement") else ""
    text = WHAT[rule].format(metric=metric, value=f"{estimate.value:{sign}.3f}")
    if estimate.items < policy.min_items:
        return f"{text}, but {estimate.items} items are fewer than the {policy.min_items} that could prove it"
    if estimate.low is None or estimate.high is None:
        return f"{text}, but it is undefined on too many resamples of {estimate.items} items"
    return f"{text} ({estimate.low:{sign}.3f} to {estimate.high:{sign}.3f}, {estimate.items} items)"
