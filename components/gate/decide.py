"""The gate's decision: a pure function of what was observed of two models, and of the policy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from components.core.records import Check
from components.gate.settings import GatePolicy
from components.metrics.bootstrap import Estimate, Observed, difference, figure, growth, interval
from components.metrics.observations import Measured
from components.metrics.statistics import HUMAN, METRICS

LENGTH, BETTER = "answer_length", "lc_win_rate"


@dataclass(frozen=True)
class Verdict:
    """promote: better, by proof. hold: not proven better; the run goes on. stop: proven worse or no judge any more."""

    decision: Literal["promote", "hold", "stop"]
    reasons: list[str]
    checks: list[Check]


def decide(
    candidate: Measured,
    champion: Measured | None,
    policy: GatePolicy,
    previous: Measured | None = None,
    baselines: Mapping[str, Measured] | None = None,
) -> Verdict:
    """Whether the candidate becomes champion, and whether its run may go on.

    Floors and ceilings are absolute; regressions and growth are measured against `previous`, the model before it in its
    run (None: against the champion; empty: there is none); promotion needs an improvement over the champion. Without
    a champion, what nothing speaks against is promoted, unless it is proven worse than the policy's baseline, one of
    the models that the run started from (`baselines`, by name). What the policy demands must be proven in either case:
    what was not measured holds the model.
    """
    before = champion if previous is None else previous
    checks = list(_limits(candidate, policy))
    if before:
        checks += [*_regressions(candidate, before, policy), _growth(candidate, before, policy)]
    improvements = list(_improvements(candidate, champion, policy)) if champion is not None else []
    demands = list(_demands(candidate, policy))
    unmet = [check.reason for check in demands if check.outcome != "pass"]
    failed = [check.reason for check in checks if check.outcome == "fail"]
    if failed:
        return Verdict("stop", failed, checks + improvements + demands)
    if champion is None:
        against = list(_against_baseline(candidate, baselines or {}, policy))
        checks += against
        if worse := [check.reason for check in against if check.outcome == "fail"] + unmet:
            return Verdict("hold", worse, checks + demands)
        reason = "there is no champion yet, and nothing speaks against this model"
        if unknown := sum(check.outcome == "unknown" for check in checks):
            reason += f"; {unknown} of {len(checks)} rules had too little to go by"
        return Verdict("promote", [reason], checks + demands)
    missing = [check.reason for check in improvements if check.outcome != "pass"]
    missing += [] if improvements else ["the policy names no metric to improve"]
    if missing + unmet:
        return Verdict("hold", missing + unmet, checks + improvements + demands)
    proven = [check.reason for check in (*improvements, *demands)]
    return Verdict("promote", proven, checks + improvements + demands)


def _limits(candidate: Measured, policy: GatePolicy) -> Iterator[Check]:
    for name, floor in policy.floors.items():
        estimate = interval(METRICS[name], candidate.get(name, {}), policy.resampling())
        below = estimate.high is not None and estimate.high < floor
        yield _check("floor", name, estimate, policy, failed=below, rule_text=f"the floor is {floor:g}")
    for name, ceiling in policy.ceilings.items():
        estimate = interval(METRICS[name], candidate.get(name, {}), policy.resampling())
        above = estimate.low is not None and estimate.low > ceiling
        yield _check("ceiling", name, estimate, policy, failed=above, rule_text=f"the ceiling is {ceiling:g}")


def _regressions(candidate: Measured, before: Measured, policy: GatePolicy) -> Iterator[Check]:
    for name, margin in policy.regress.items():
        estimate = _difference(name, candidate, before, policy)
        worse = estimate.high is not None and estimate.high < -margin
        yield _check("regression", name, estimate, policy, failed=worse, rule_text=f"a loss of {margin:g} is allowed")


def _growth(candidate: Measured, before: Measured, policy: GatePolicy) -> Check:
    """Longer answers must be better at equal length, by proof: where that was not measured, nothing speaks for them."""
    estimate = growth(METRICS[LENGTH], *_both(LENGTH, candidate, before), policy.resampling())
    longer = estimate.low is not None and estimate.low > policy.longest_growth
    text = f"{policy.longest_growth:g} times is allowed unless {BETTER} is better"
    if longer and _known(estimate, policy):  # the refits behind the length-controlled win rate take their time
        better = _difference(BETTER, candidate, before, policy)
        text += f"; {_what('regression', BETTER, better, policy)}"
        longer = not (_known(better, policy) and (better.low or 0) > 0)
    return _check("growth", LENGTH, estimate, policy, failed=longer, rule_text=text)


def _improvements(candidate: Measured, champion: Measured, policy: GatePolicy) -> Iterator[Check]:
    for name, margin in policy.improve.items():
        estimate = _difference(name, candidate, champion, policy)
        proven = estimate.low is not None and estimate.low > margin
        text = f"a gain of more than {margin:g} must be proven"
        yield _check("improvement", name, estimate, policy, failed=not proven, rule_text=text)


def _demands(candidate: Measured, policy: GatePolicy) -> Iterator[Check]:
    """The lower end of the interval must reach what is asked: no label, like too few of them, is no agreement."""
    for name, least in policy.demand.items():
        estimate = interval(METRICS[name], candidate.get(name, {}), policy.resampling())
        reached = estimate.low is not None and estimate.low >= least
        text = f"at least {least:g} must be proven" + (" (srlm review)" if name.startswith(HUMAN) else "")
        yield _check("demand", name, estimate, policy, failed=not reached, rule_text=text)


def _against_baseline(candidate: Measured, baselines: Mapping[str, Measured], policy: GatePolicy) -> Iterator[Check]:
    """What makes a model better or worse is what the policy names in `improve` and `regress`."""
    name = choose_baseline(baselines, policy)
    for metric in dict.fromkeys([*policy.improve, *policy.regress]) if name else ():
        if metric in baselines[name]:
            estimate = _difference(metric, candidate, baselines[name], policy)
            worse = estimate.high is not None and estimate.high < 0
            text = f"a champion must not be worse than {name.upper()}"
            yield _check("baseline", metric, estimate, policy, failed=worse, rule_text=text)


def choose_baseline(baselines: Mapping[str, Measured], policy: GatePolicy) -> str:
    """The name of the model that the first champion is held against; "" for none.

    The better one is the one with the higher value of the first metric of `improve` that all of them have; of equals
    it is the SFT baseline, whatever their order: a run's state comes through Kubeflow, which keeps none.
    """
    if policy.baseline != "best":
        return policy.baseline if policy.baseline in baselines else ""
    for metric in policy.improve:
        values = {name: figure(METRICS[metric], seen.get(metric, {})) for name, seen in baselines.items()}
        known = {name: value for name, value in values.items() if value is not None}
        if known and len(known) == len(baselines):
            return max(known, key=lambda name: (known[name], name))
    return "sft" if "sft" in baselines else next(iter(baselines), "")


def _difference(name: str, candidate: Measured, other: Measured, policy: GatePolicy) -> Estimate:
    return difference(METRICS[name], *_both(name, candidate, other), policy.resampling())


def _both(name: str, one: Measured, other: Measured) -> tuple[Observed, Observed]:
    return one.get(name, {}), other.get(name, {})


RuleName = Literal["floor", "ceiling", "regression", "growth", "improvement", "baseline", "demand"]
WHAT = {
    "floor": "{metric} is {value}",
    "ceiling": "{metric} is {value}",
    "demand": "{metric} is {value}",
    "regression": "{metric} changed by {value} against the model before",
    "growth": "answers are {value} times as long as those of the model before",
    "improvement": "{metric} changed by {value} against the champion",
    "baseline": "{metric} changed by {value} against what the run started from",
}


def _check(rule: RuleName, metric: str, estimate: Estimate, policy: GatePolicy, failed: bool, rule_text: str) -> Check:
    """One rule's outcome in words; with too few items, or without an interval, it is unknown."""
    outcome: Literal["pass", "fail", "unknown"] = "fail" if failed else "pass"
    return Check(
        id=f"{rule}/{metric}",
        rule=rule,
        metric=metric,
        outcome=outcome if _known(estimate, policy) else "unknown",
        value=estimate.value,
        low=estimate.low,
        high=estimate.high,
        items=estimate.items,
        reason=f"{_what(rule, metric, estimate, policy)}: {rule_text}",
    )


def _known(estimate: Estimate, policy: GatePolicy) -> bool:
    return estimate.low is not None and estimate.items >= policy.min_items


def _what(rule: RuleName, metric: str, estimate: Estimate, policy: GatePolicy) -> str:
    compared = rule not in ("floor", "ceiling", "demand")
    if estimate.items == 0:
        return f"{metric} was not measured" + (" on items of both models" if compared else "")
    if estimate.value is None:
        return f"{metric} is undefined on {estimate.items} items"
    sign = "+" if rule in ("regression", "improvement", "baseline") else ""
    text = WHAT[rule].format(metric=metric, value=f"{estimate.value:{sign}.3f}")
    if estimate.items < policy.min_items:
        return f"{text}, but {estimate.items} items are fewer than the {policy.min_items} that could prove it"
    if estimate.low is None or estimate.high is None:
        return f"{text}, but it is undefined on too many resamples of {estimate.items} items"
    return f"{text} ({estimate.low:{sign}.3f} to {estimate.high:{sign}.3f}, {estimate.items} items)"
