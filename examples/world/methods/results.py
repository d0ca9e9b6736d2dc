"""What came out of each method, model by model, and how far its last model is from that of the plain loop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import fmean, stdev
from typing import Any

from components.core.stage import read_manifest
from components.metrics.bootstrap import Estimate, Observed, Resampling, difference
from components.metrics.observations import read_measured
from components.metrics.statistics import METRICS
from examples.world.methods.switches import PLAIN
from examples.world.outcome import SAMPLED

# Stages of a round in which models are asked, and those that a round takes besides; the prompts come from a file.
ASKING = ("sampling", "judging", "first_sampling", "first_judging", "previous_judging", "human_prompts")
ROUND = (*ASKING, "pairs", "dpo")
RECORDS = ("candidates-", "judgements-")


@dataclass(frozen=True)
class Model:
    """One model of a run: its figures, and what it took to make the next one's pairs and itself.

    `sampled` is the share of right answers at T = 0.7, `judge` the pairwise accuracy; `pairs` is the number of those
    made of its answers, `length` the mean characters of their chosen side: None of the last model. `calls` are the
    answers and judgements that were asked for with it, `seconds` what its stages took, evaluation left out.
    """

    name: str
    sampled: float | None
    judge: float | None
    length: float | None
    pairs: int | None
    calls: int
    seconds: float


@dataclass(frozen=True)
class Result:
    """One run: its gated models in their order, the last one's observed answers by question, and where it ended.

    `failed` is the problem of a run that did not come to its end, `stopped_by` the model at which a gate stopped it.
    """

    world: str
    method: str
    seed: int
    models: Sequence[Model]
    answers: Observed = field(default_factory=dict)
    stopped_by: str | None = None
    failed: str = ""

    @property
    def ended(self) -> bool:
        """Whether it made all its models."""
        return not self.failed and not self.stopped_by

    @property
    def why_missing(self) -> str:
        return self.failed or f"stopped by the gate at {str(self.stopped_by).upper()}"


def read_result(world: str, method: str, seed: int, summary: Mapping[str, Any]) -> Result:
    """The result of a finished run by its summary; reads observations and manifests from the store."""
    by_model: dict[str, dict[str, str]] = {}
    for stage in summary["stages"]:
        model, _, kind = stage["name"].rpartition("/")
        by_model.setdefault(model, {})[kind] = stage["uri"]
    rounds = {one["name"]: one["metrics"] for one in summary["rounds"]}
    gated = [one for one in summary["models"] if one["verdict"]]  # not what the run starts from
    models = []
    for one in gated:
        stages, made = by_model[one["name"]], rounds.get(one["name"], {})
        models.append(
            Model(
                name=one["name"],
                sampled=one["metrics"].get(SAMPLED),
                judge=one["metrics"].get("pairwise_accuracy"),
                length=made.get("chosen_length"),
                pairs=made.get("pairs"),
                calls=sum(calls(uri) for kind, uri in stages.items() if kind in ASKING),
                seconds=sum(read_manifest(uri).seconds for kind, uri in stages.items() if kind in ROUND),
            )
        )
    answers = read_measured(gated[-1]["measured"])[SAMPLED]
    return Result(world, method, seed, models, answers, summary["stopped_by"])


def calls(uri: str) -> int:
    """Answers and judgements of a stage: each was asked for once."""
    files = read_manifest(uri).files.items()
    return sum(file.records or 0 for name, file in files if name.startswith(RECORDS))


@dataclass(frozen=True)
class Row:
    """A method in a world: means over seeds of the last model's figures, and its difference to the plain loop.

    `difference` is of the share of right answers, paired by question over all seeds that both ended, with its 95 %
    interval over questions; `by_seed` are those of the single seeds, `spread` their standard deviation (None for one).
    `lengths` and `pairs` are of the rounds in their order. `missing` says of seeds why they have no last model.
    """

    world: str
    method: str
    seeds: int
    model: str
    sampled: float | None
    judge: float | None
    lengths: Sequence[float | None]
    pairs: Sequence[float | None]
    calls: float | None
    seconds: float | None
    difference: Estimate | None
    by_seed: Sequence[float]
    spread: float | None
    missing: Sequence[str]

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self) | {"difference": self.difference._asdict() if self.difference else None}


def compared(results: Sequence[Result]) -> list[Row]:
    """A row for each world and method, in the order in which they were run."""
    rows = {}
    for world, method in {(one.world, one.method): None for one in results}:
        own = [one for one in results if (one.world, one.method) == (world, method)]
        trunk = {one.seed: one for one in results if (one.world, one.method) == (world, PLAIN.name)}
        rows[world, method] = _row(own, trunk)
    return list(rows.values())


def _row(own: Sequence[Result], trunk: Mapping[int, Result]) -> Row:
    """Only a run that came to its end has a last model to be compared, and only with a trunk that did, too."""
    whole = [one for one in own if one.ended]
    held = [(one, trunk[one.seed]) for one in whole if one.seed in trunk and trunk[one.seed].ended]
    if own[0].method == PLAIN.name:
        held = []  # against itself
    by_seed = [_difference(one.answers, other.answers).value for one, other in held]
    known = [value for value in by_seed if value is not None]
    ours, theirs = _pooled([one for one, _ in held]), _pooled([other for _, other in held])
    rounds = range(min((len(one.models) for one in whole), default=1) - 1)
    return Row(
        world=own[0].world,
        method=own[0].method,
        seeds=len(whole),
        model=whole[0].models[-1].name if whole else "",
        sampled=_mean([one.models[-1].sampled for one in whole]),
        judge=_mean([one.models[-1].judge for one in whole]),
        lengths=[_mean([one.models[n].length for one in whole]) for n in rounds],
        pairs=[_mean([one.models[n].pairs for one in whole]) for n in rounds],
        calls=_mean([sum(model.calls for model in one.models) for one in whole]),
        seconds=_mean([sum(model.seconds for model in one.models) for one in whole]),
        difference=_difference(ours, theirs) if held else None,
        by_seed=known,
        spread=stdev(known) if len(known) > 1 else None,
        missing=[f"seed {one.seed}: {one.why_missing}" for one in own if not one.ended],
    )


def _pooled(results: Sequence[Result]) -> dict[str, tuple[float, ...]]:
    """Answers by seed and question: each seed has questions of its own."""
    return {f"{one.seed}/{item}": values for one in results for item, values in one.answers.items()}


def _difference(one: Observed, other: Observed) -> Estimate:
    return difference(METRICS[SAMPLED], one, other, Resampling())


def _mean(values: Sequence[float | None]) -> float | None:
    """None where a value is missing: a mean of some would be of other seeds than its neighbours."""
    known = [value for value in values if value is not None]
    return fmean(known) if known and len(known) == len(values) else None
