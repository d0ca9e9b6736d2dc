"""Runs side by side: their figures, and how far these differ, item by item where the items are the same (issue 15).

`srlm eval` asks the gate about two models, and measures what is missing; this reads what runs have measured, and
decides nothing. A change is paired where both measured the same items; an item is the same when its text is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from components.core.errors import UserError
from components.core.hashing import content_hash
from components.core.records import Instruction, Manifest, SeedPrompt
from components.core.stage import read_manifest, read_records
from components.metrics.bootstrap import Estimate, Observed, Resampling, difference, interval, separate_difference
from components.metrics.observations import read_measured
from components.metrics.statistics import BENCHMARK, HEADLINE, METRICS
from components.run.figures import HELD_OUT

FEWEST_SHARED = 0.8  # of the items: with fewer in common the change would not be that of the figures beside it
OTHERWISE = ("lc_win_rate", "win_rate", "exact_answers", "pairwise_accuracy")  # of these more is better
Model = Mapping[str, Any]  # an entry of summary["models"]


@dataclass(frozen=True)
class Change:
    """How far a figure of a run lies from that of the first; without a value, `how` says why none is told."""

    estimate: Estimate
    how: str


@dataclass(frozen=True)
class Row:
    """One figure of one model of each run, and its changes against the first run's; None: not measured there."""

    model: str
    metric: str
    values: Sequence[Estimate | None]
    changes: Sequence[Change | None]


@dataclass(frozen=True)
class Measured:
    """What the stages of one model observed, by metric, and the stage that observed it."""

    observed: Mapping[str, Observed] = field(default_factory=dict)
    stages: Mapping[str, Manifest] = field(default_factory=dict)


def compare_runs(summaries: Sequence[Mapping[str, Any]], how: Resampling) -> list[Row]:
    """The figures of models of the same name, then of the last ones where these have different names.

    Raises UserError where a stage is gone that measured one of them.
    """
    by_name = [{model["name"]: model for model in summary["models"]} for summary in summaries]
    names = list(dict.fromkeys(name for models in by_name for name in models))
    rows = [row for name in names for row in _rows(name.upper(), [models.get(name) for models in by_name], how)]
    last = [next(reversed(models), "") for models in by_name]
    if len(set(last)) > 1 and all(last):
        title = "last: " + ", ".join(name.upper() for name in last)
        rows += _rows(title, [models[name] for models, name in zip(by_name, last, strict=True)], how)
    return rows


def _rows(title: str, models: Sequence[Model | None], how: Resampling) -> list[Row]:
    measured = [read_model(model) for model in models]
    known = {metric for one in measured for metric in one.observed}
    metrics = [name for name in (*HEADLINE, *HELD_OUT) if name in known]
    metrics += sorted(name for name in known if name.startswith(BENCHMARK))
    rows = []
    for name in metrics:
        seen = [one.observed.get(name) for one in measured]
        values = [_with_width(interval(METRICS[name], one, how)) if one else None for one in seen]
        changes = [change(name, measured[0], other, how) for other in measured[1:]]
        rows.append(Row(title, name, values, changes))
    return rows


def read_model(model: Model | None) -> Measured:
    """What was observed of a model of a summary; nothing of None."""
    if model is None:
        return Measured()
    observed: dict[str, Observed] = {}
    stages: dict[str, Manifest] = {}
    for uri in model["measured"]:
        found, manifest = read_measured([uri]), read_manifest(uri)
        observed |= found
        stages |= dict.fromkeys(found, manifest)
    return Measured(observed, stages)


def change(name: str, first: Measured, other: Measured, how: Resampling) -> Change | None:
    """The figure of `other` less that of `first`; None where one of them does not have it."""
    if name not in first.observed or name not in other.observed:
        return None
    ours, theirs = other.observed[name], first.observed[name]
    nothing = Estimate(None, None, None, 0)
    if reason := _rated_differently(first.stages[name], other.stages[name]):
        return Change(nothing, reason)
    if METRICS[name].published:
        return Change(difference(METRICS[name], ours, theirs, how), "by the errors that the harness gives")
    texts = [_texts(name, one.stages[name]) for one in (other, first)]
    shared = [item for item in ours if item in theirs and len({one.get(item, item) for one in texts}) == 1]
    smaller, larger = sorted((len(ours), len(theirs)))
    if METRICS[name].labelled or len(shared) < max(2, FEWEST_SHARED * larger):
        told = f"unpaired: {len(shared) or 'none'} of {smaller} and {larger} items are the same"
        return Change(_with_width(separate_difference(METRICS[name], ours, theirs, how)), told)
    ours, theirs = ({item: values[item] for item in shared} for values in (ours, theirs))
    told = "paired" if len(shared) == larger else f"paired: on the {len(shared)} of {larger} items that both have"
    return Change(difference(METRICS[name], ours, theirs, how), told)


def _with_width(estimate: Estimate) -> Estimate:
    """One item alone has no interval: a bootstrap would give it one without width."""
    return estimate if estimate.items > 1 else estimate._replace(low=None, high=None)


def _rated_differently(first: Manifest, other: Manifest) -> str:
    """Why two figures are not those of one measure; "" where the same annotator was asked in the same words."""
    for role in ("annotator", "template"):
        digests = [manifest.parents[role].digest if role in manifest.parents else "" for manifest in (first, other)]
        if digests[0] != digests[1]:
            return f"not compared: another {role}"
    return ""


def _texts(name: str, manifest: Manifest) -> dict[str, str]:
    """What each item is, by a hash of its text, where its id alone does not tell: held-out prompts by the ids that
    their file has, instructions by their places. Ids of other items are hashes of their texts."""
    parents = manifest.parents
    instructions = parents.get("instructions")
    if instructions and name != "net_win" and (manifest.stage == "annotation" or name == "answer_length"):
        found = read_records(instructions.uri, "instructions", Instruction)
        return {one.id: content_hash([one.text, one.reference]) for one in found}
    if manifest.stage == "annotation" and "evaluation" in parents:
        parents = read_manifest(parents["evaluation"].uri).parents
    if "seed_data" not in parents or name.startswith("exact_answers"):
        return {}
    return {
        one.id: content_hash(one.model_dump(mode="json"))
        for one in read_records(parents["seed_data"].uri, "eval", SeedPrompt)
    }


def verdict(rows: Sequence[Row], names: Sequence[str], metrics: Sequence[str], how: Resampling, fewest: int) -> str:
    """The last models of the first two runs in one sentence, by the first of the metrics that both have."""
    last = [row for row in rows if row.model == rows[-1].model]
    for metric in dict.fromkeys([*metrics, *OTHERWISE]):
        for row in last:
            made = row.changes[0]
            if row.metric != metric or made is None or made.estimate.value is None:
                continue
            value, low, high, items = made.estimate
            sure, span = "cannot be told from", ""
            if low is not None and high is not None:
                span = f", {how.confidence * 100:g} % interval {low:+.3f} to {high:+.3f}"
                if items >= fewest:
                    sure = "is worse than" if high < 0 else "is not proven better or worse than"
                    sure = "is better than" if low > 0 else sure
            told = f"{metric} differs by {value:+.3f} ({made.how}, {items} items{span})"
            return f"{row.model} of {names[1]} {sure} that of {names[0]}: {told}."
    return f"No figure tells whether {rows[-1].model} of {names[1]} is better than that of {names[0]}: see the table."


def require_figures(summaries: Sequence[Mapping[str, Any]]) -> None:
    """Raises UserError where a run has no model that was measured."""
    for summary in summaries:
        if not summary["models"]:
            raise UserError(
                f"no model of the run {summary['run']} was measured yet", "srlm status tells how far it got."
            )
