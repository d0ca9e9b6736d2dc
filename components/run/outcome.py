"""What a run came to, in one sentence with its uncertainty, and what makes that uncertain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from components.core.errors import UserError
from components.core.records import Check
from components.core.stage import read_records
from components.gate.gate import read_decision
from components.gate.settings import GatePolicy
from components.metrics.bootstrap import Estimate, difference
from components.metrics.observations import read_measured
from components.metrics.statistics import METRICS

Model = Mapping[str, Any]  # an entry of summary["models"]


@dataclass(frozen=True)
class Outcome:
    """The sentence, and reasons to doubt it or to look closer."""

    sentence: str
    doubts: Sequence[str] = ()


def outcome(models: Sequence[Model], policy: GatePolicy) -> Outcome:
    """The last model that the gate saw against the first, by what the recipe asks for an improvement of.

    Both were measured on the same items, so the difference is a paired one. `models` are in the order of the run.
    """
    gated = [model for model in models if model["verdict"]]
    if not gated:
        return Outcome("The gate has seen no model of this run: nothing can be said of it yet.")
    first, last = gated[0], gated[-1]
    verdict = f"The gate's verdict on {_name(last)} is {last['verdict']}"
    if last["verdict"] == "stop":
        verdict = f"The gate stopped the run at {_name(last)}: {'; '.join(last['reasons'])}"
    try:
        doubts = _doubts(last, policy)
        compared = _compared(last, first, policy) if last is not first else ""
    except UserError as error:  # a stage was removed, or changed
        return Outcome(f"{verdict}.", [f"{error.problem}: how sure that is can no longer be computed."])
    alone = " It is the only model that was judged: there is none to compare it with." if last is first else ""
    return Outcome(f"{compared}{verdict}.{alone}", doubts)


def _compared(last: Model, first: Model, policy: GatePolicy) -> str:
    """The first metric of the policy's `improve` that both have, as a sentence that ends with a space."""
    metric = next((name for name in policy.improve if name in last["metrics"] and name in first["metrics"]), "")
    if not metric:
        return f"What the recipe wants improved ({', '.join(policy.improve)}) was not measured on both models. "
    change = _change(last, first, metric, policy)
    if change.value is None or change.low is None or change.high is None:
        return f"The change of {metric} from {_name(first)} to {_name(last)} is undefined on {change.items} items. "
    values = f"{first['metrics'][metric]:.3f} to {last['metrics'][metric]:.3f}"
    interval = f"{policy.confidence * 100:g} % interval {change.low:+.3f} to {change.high:+.3f}, {change.items} items"
    return (
        f"{_name(last)} {how_sure(change, policy)} {_name(first)}: {metric} went from {values}, "
        f"a change of {change.value:+.3f} ({interval}). "
    )


def _change(last: Model, first: Model, metric: str, policy: GatePolicy) -> Estimate:
    """The difference of the metric. Where the first model was the champion, the gate has computed the very same: its
    refits take seconds, of a run in which nothing is left to do the better part (issue 15)."""
    champion = read_decision(last["gate"]).champion
    if champion and champion == first.get("digest"):
        for check in read_records(last["gate"], "checks", Check):
            if (check.rule, check.metric) == ("improvement", metric):
                return Estimate(check.value, check.low, check.high, check.items)
    one, other = (read_measured(model["measured"]).get(metric, {}) for model in (last, first))
    return difference(METRICS[metric], one, other, policy.resampling())


def how_sure(change: Estimate, policy: GatePolicy) -> str:
    if change.items < policy.min_items:
        return "cannot be told from"
    if change.low is not None and change.low > 0:
        return "is better than"
    if change.high is not None and change.high < 0:
        return "is worse than"
    return "is not proven better or worse than"


def _doubts(model: Model, policy: GatePolicy) -> list[str]:
    """The gate's rules that the model failed, those that cannot be told, and in one line each those that had too few
    items and those that had none: the section of the rules has each with its numbers."""
    checks = read_records(model["gate"], "checks", Check)
    told = [check for check in checks if check.outcome == "fail"]
    unknown = [check for check in checks if check.outcome == "unknown"]
    few = [check for check in unknown if 0 < check.items < policy.min_items]
    told += [check for check in unknown if check.items and check not in few]
    lines = [f"{check.rule}: {check.reason}" for check in told]
    if few:
        low, high = min(check.items for check in few), max(check.items for check in few)
        items = f"{low} items" if low == high else f"{low} to {high} items"
        what = ", ".join(f"{check.rule} of {check.metric}" for check in few)
        lines.append(f"{len(few)} of {len(checks)} rules had {items}, {policy.min_items} could prove something: {what}")
    unseen = sorted({check.metric for check in unknown if not check.items})
    return lines + ([f"not measured of {_name(model)}: {', '.join(unseen)}"] if unseen else [])


def _name(model: Model) -> str:
    return str(model["name"]).upper()
