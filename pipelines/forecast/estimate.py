"""How long the work of a stage takes: by what earlier runs of the store took, else by a formula for GPUs, else unknown.

By one measured size of work a larger one is bounded: at least as long (all of it was loading a model), at most longer
by as much as the work is (none was); the middle is the estimate. Where several sizes were measured, a line is fitted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, linear_regression

from components.run.look import CHECKPOINTS
from components.training.shape import Shape
from pipelines.forecast.history import Measured
from pipelines.forecast.work import BESIDES, Work
from pipelines.plan.work import (
    ANSWER,
    FLOPS,
    JUDGE_PROMPT,
    JUDGEMENT,
    PROMPT,
    UTILISATION,
    answering_hours,
    gpu_memory,
    trainings,
)
from pipelines.recipe import Recipe

MEASURED = 6  # the newest that count
# Tokens that are read and written for one answer, where nothing was measured.
TOKENS = {
    "attempts at prompts": (8 * PROMPT, PROMPT),
    "candidates": (PROMPT, ANSWER),
    "answers": (PROMPT, ANSWER),
    "answers to questions": (PROMPT, ANSWER),
    "judgements": (JUDGE_PROMPT + PROMPT + ANSWER, JUDGEMENT),
    "rubrics": (PROMPT, JUDGEMENT),
    "ratings": (JUDGE_PROMPT + PROMPT + ANSWER, JUDGEMENT),
    "preferences": (PROMPT + 2 * ANSWER, 1),
    "comparisons": (PROMPT + 2 * ANSWER, JUDGEMENT),
    "comparisons of judgements": (JUDGE_PROMPT + PROMPT + ANSWER + 2 * JUDGEMENT, JUDGEMENT),
}


@dataclass(frozen=True)
class Estimate:
    """Seconds, between `low` and `high`, on so many GPUs; `formula` says how they come about, with every source."""

    seconds: float
    low: float
    high: float
    gpus: int
    formula: str

    @property
    def gpu_hours(self) -> float:
        return self.seconds * self.gpus / 3600


def left_of(work: Work, saved: Mapping[str, int]) -> float:
    """The share of the work that an earlier attempt has left to do."""
    if work.steps:  # what early stopping asks on the way is none of them
        return max(0.0, 1 - saved.get(CHECKPOINTS, 0) / work.steps)
    whole = sum(one.number for one in work.asked)
    return max(0.0, 1 - sum(saved.values()) / whole) if whole else 1.0


def by_measurements(measured: Sequence[Measured], size: float, gpus: int) -> Estimate | None:
    """None where nothing like it was measured."""
    known = list(measured[:MEASURED])
    if not known:
        return None
    seconds, runs = fmean(one.seconds for one in known), ", ".join(dict.fromkeys(one.run for one in known))
    source = f"{len(known)} measured in {runs}"
    sizes = [one.size for one in known]
    if not any(sizes):
        return Estimate(seconds, seconds, seconds, gpus, f"{seconds:.1f} s as before ({source})")
    if len(set(sizes)) > 1:
        slope, start = linear_regression(sizes, [one.seconds for one in known])
        if slope > 0 and start >= 0:
            there = start + slope * size
            formula = f"{start:.1f} s + {slope:.3g} s x {size:,.0f} (a line through {source})"
            return Estimate(there, there, there, gpus, formula)
    grown = size / fmean(sizes)
    low, high = sorted((seconds, seconds * grown))
    formula = f"{seconds:.1f} s for {fmean(sizes):,.0f} ({source}), now {size:,.0f}: between 1 and {grown:.2f} times"
    return Estimate((low + high) / 2, low, high, gpus, formula)


def by_formula(name: str, work: Work, left: float, recipe: Recipe, shape: Shape | None) -> Estimate | None:
    """By the formulas of docs/scale.md, of an H100; None where there are no GPUs or the model's size is not known."""
    model, _, kind = name.rpartition("/")
    training = kind in ("sft", "dpo")
    gpus = gpus_of(kind, recipe)
    if shape is None or not gpus or not work.size or work.uncounted:
        return None
    size = f"{shape.parameters / 1e9:.2f} billion weights"
    if training:
        one = next(one for one in trainings(recipe) if one.name.lower() == model)
        one = replace(one, examples=round(work.examples * left / one.settings.epochs))
        hours = one.hours(shape, recipe.resources.nodes, recipe.resources.gpus, gpu_memory(recipe))
        told = f"{one.steps:,} steps, {one.total_tokens:,} tokens of {one.tokens:.0f} a text"
    else:
        tokens = [(one.number * left, TOKENS[one.what], one.longest) for one in work.asked]
        read = round(sum(number * each for number, (each, _), _ in tokens))
        written = round(sum(number * min(each, longest) for number, (_, each), longest in tokens))
        hours = answering_hours(recipe, shape, read, written)
        told = f"{read:,} tokens read, {written:,} written"
    formula = (
        f"{told}; {size} on {gpus} GPUs of {FLOPS / 1e12:.0f} TFLOP/s (H100), used to {UTILISATION:.0%} (docs/scale.md)"
    )
    return Estimate(3600 * hours, 1800 * hours, 7200 * hours, gpus, formula)  # good to a factor of two


def gpus_of(kind: str, recipe: Recipe) -> int:
    """GPUs that are held while a stage of this kind is made; 0 where there are none, or it asks and trains nobody."""
    if kind in ("sft", "dpo"):
        return recipe.resources.nodes * recipe.resources.gpus
    asks = kind in ("eft", "prompts", "sampling", "judging", "evaluation", "annotation", "benchmarks", *BESIDES)
    return recipe.serving.replicas * recipe.serving.pod.gpus if asks or kind.startswith("mt_bench") else 0
