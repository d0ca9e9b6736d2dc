"""Whether a model's figures would stand with another seed: their spread between trainings beside the intervals over
prompts (issue 12).

The trainings differ in their seed alone and are asked the same with the same seeds. So the spread is that of the last
step of one round; earlier rounds, the round's candidates and their judgements were drawn once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from components.core.context import RunContext, open_step
from components.core.journal import read_journal
from components.core.page import Table, markdown_table, write_page
from components.core.records import Counts, Manifest, TrainingNoise
from components.core.stage import Stage, read_manifest, read_records
from components.gate.gate import GatedModel
from components.gate.settings import GatePolicy
from components.metrics.bootstrap import difference, interval
from components.metrics.observations import Measured, read_measured
from components.metrics.spread import spread
from components.metrics.statistics import METRICS

COLUMNS = (
    *("figure", "value", "over prompts", "trainings", "mean", "sd", "lowest to highest"),
    *("change", "over prompts", "with another seed", "beyond both"),
)
NOTE = (
    "value, change: of the model, and against the one that it is compared with, each with its interval over prompts. "
    "mean, sd: of the trainings, which differ in the seed of DPO alone. with another seed: where the change of one "
    "more training would lie. beyond both: neither interval of the change holds 0; a dash: too little is known."
)


def report_noise(run: str, seeds: int, candidate: GatedModel, against: GatedModel, page: str) -> str:
    """The step: compares the model with its trainings again, which the run's journal names; returns the stage's URI."""
    with open_step(run, "compare the trainings") as context:
        policy = context.section("gate", GatePolicy)
        again = [_trained_again(context, f"seed-{number}/") for number in range(1, seeds + 1)]
        uri = context.make("noise", lambda: compare_trainings(context.store, policy, candidate, against, again))
        write_page(page, "Training noise", noise_lines(uri), noise_table(uri))
        return uri


def _trained_again(context: RunContext, prefix: str) -> GatedModel:
    """The model of one training again, and all stages that observed something of it, by their names in the journal."""
    named = {entry["name"]: entry["uri"] for entry in read_journal(context.store, context.run, "stages")}
    return GatedModel(named[f"{prefix}dpo"], [uri for name, uri in named.items() if name.startswith(prefix)])


def compare_trainings(
    root: str, policy: GatePolicy, candidate: GatedModel, against: GatedModel, again: Sequence[GatedModel]
) -> Manifest:
    """The stage training_noise: records "figures" (TrainingNoise), one for each figure of the candidate.

    Counts the trainings, and how many different models they made.
    """
    models = {"candidate": candidate, "against": against} | {f"seed_{n}": one for n, one in enumerate(again, 1)}
    inputs = {f"{name}_{role}": stage for name, model in models.items() for role, stage in model.parents().items()}
    stage = Stage(root, "training_noise", policy, inputs)
    if stage.manifest:
        return stage.manifest
    trainings = [read_measured(model.measured) for model in (candidate, *again)]
    opponent = read_measured(against.measured)
    figures = [_figure(metric, trainings, opponent, policy) for metric in trainings[0]]
    made = {read_manifest(model.model).digest for model in (candidate, *again)}
    counts = Counts(kept={"figures": len(figures), "trainings": len(trainings), "different models": len(made)})
    return stage.publish(counts, {"figures": figures})


def _figure(name: str, trainings: Sequence[Measured], against: Measured, policy: GatePolicy) -> TrainingNoise:
    metric, how = METRICS[name], policy.resampling()
    once = replace(how, resamples=1)  # of the other trainings the values are enough
    own, theirs = trainings[0].get(name, {}), against.get(name, {})
    over_prompts, change = interval(metric, own, how), difference(metric, own, theirs, how)
    others = [training.get(name, {}) for training in trainings[1:]]
    values = [over_prompts.value, *(interval(metric, other, once).value for other in others)]
    changes = [change.value, *(difference(metric, other, theirs, once).value for other in others)]
    between = spread([value for value in values if value is not None], how.confidence)
    moved = spread([value for value in changes if value is not None], how.confidence)
    known = change.items >= policy.min_items
    return TrainingNoise(
        id=name,
        value=over_prompts.value,
        low=over_prompts.low,
        high=over_prompts.high,
        items=over_prompts.items,
        trainings=values,
        mean=between.mean,
        deviation=between.deviation,
        change=change.value,
        change_low=change.low,
        change_high=change.high,
        seeds_low=moved.low,
        seeds_high=moved.high,
        beyond_noise=_beyond((change.low, change.high), (moved.low, moved.high)) if known else None,
    )


def _beyond(*intervals: tuple[float | None, float | None]) -> bool | None:
    """Whether all intervals lie on one side of 0; None where one is unknown."""
    ends = [end for interval in intervals for end in interval]
    known = [end for end in ends if end is not None]
    return (min(known) > 0 or max(known) < 0) if len(known) == len(ends) else None


def noise_lines(noise: str) -> list[str]:
    """How many trainings the stage compares; of the changes that are sure over prompts, which another seed may undo."""
    kept, figures = read_manifest(noise).counts.kept, read_records(noise, "figures", TrainingNoise)
    if kept["different models"] > 1:
        made = f"{kept['different models']} different models"
    else:
        made = "one and the same model: the seed reaches nothing here (no dropout, no adapter, all pairs in each step)"
    lines = [f"{kept['trainings']} trainings with seeds of their own made {made}."]
    over_prompts = [
        one for one in figures if _beyond((one.change_low, one.change_high)) and one.beyond_noise is not None
    ]
    for beyond, words in ((True, "beyond prompts and seeds"), (False, "sure over prompts that another seed may undo")):
        if named := [f"{one.id} {one.change:+.3f}" for one in over_prompts if one.beyond_noise is beyond]:
            lines.append(f"Changes {words}: {', '.join(named)}.")
    return lines


def noise_markdown(noise: str) -> str:
    """A heading, the lines and the table of the stage, for a pull request."""
    lines = "".join(f"* {line}\n" for line in noise_lines(noise))
    return f"\n## Training noise\n\n{lines}\n{markdown_table(noise_table(noise))}"


def noise_table(noise: str) -> Table:
    """One row for each figure of the stage."""
    rows = []
    for one in read_records(noise, "figures", TrainingNoise):
        known = [value for value in one.trainings if value is not None]
        rows.append(
            (
                one.id,
                _number(one.value),
                _range(one.low, one.high),
                f"{len(known)} of {len(one.trainings)}",
                _number(one.mean),
                _number(one.deviation),
                _range(min(known, default=None), max(known, default=None)),
                _number(one.change, "+"),
                _range(one.change_low, one.change_high, "+"),
                _range(one.seeds_low, one.seeds_high, "+"),
                "-" if one.beyond_noise is None else "yes" if one.beyond_noise else "no",
            )
        )
    return Table("training noise", COLUMNS, rows, NOTE)


def _number(value: float | None, sign: str = "") -> str:
    return "-" if value is None else f"{value:{sign}.3f}"


def _range(low: float | None, high: float | None, sign: str = "") -> str:
    return "-" if low is None or high is None else f"{_number(low, sign)} to {_number(high, sign)}"
