"""A model's answers compared by one annotator, the same for all models: with reference outputs, and head to head."""

from __future__ import annotations

import math
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev

from components.core.progress import warn
from components.core.records import Annotation, Candidate, Counts, Instruction, Manifest, Parent
from components.core.stage import Stage, parent, read_records
from components.evaluation.alpaca_eval.files import write_alpaca_eval_files
from components.evaluation.alpaca_eval.head_to_head import compare, tally
from components.evaluation.alpaca_eval.preferences import annotate
from components.evaluation.alpaca_eval.settings import AnnotationSettings
from components.metrics.bootstrap import Resampling
from components.metrics.observations import figures, observations
from components.serving.completions import answering_model

Values = dict[str, tuple[float, ...]]
OUTCOME_VALUES = {"win": 1.0, "tie": 0.0, "loss": -1.0}
# An annotator that answers less than this share of the questions says little about any model.
FEWEST_ANNOTATED = 0.5


@dataclass(frozen=True)
class Annotator:
    """Who compares: a model of the run (its stage), or, without one, whatever answers at `endpoint`."""

    endpoint: str
    model: str = ""

    def parent(self) -> Parent:
        return answering_model(self.model, self.endpoint)


def make_annotations(
    root: str,
    settings: AnnotationSettings,
    name: str,
    evaluation: str,
    opponent: str,
    instructions: str,
    annotator: Annotator,
) -> Manifest:
    """The annotation stage of the model whose answers are in the stage `evaluation`; AlpacaEval's files call it `name`.

    `opponent` is the evaluation of the model before, `instructions` the instruction set; either may be "".
    """
    inputs = {"evaluation": parent(evaluation), "annotator": annotator.parent()}
    inputs |= {"opponent": parent(opponent)} if opponent else {}
    inputs |= {"instructions": parent(instructions)} if instructions else {}
    stage = Stage(root, "annotation", settings, inputs)
    if stage.manifest:
        return stage.manifest
    asked = read_records(instructions, "instructions", Instruction) if instructions else []
    outputs = {one.prompt_id: one for one in read_records(evaluation, "outputs", Candidate)}
    annotations = annotate(stage, asked, outputs, settings, annotator.endpoint)
    answers = read_records(evaluation, "answers", Candidate)
    opponents = read_records(opponent, "answers", Candidate) if opponent else []
    comparisons = compare(stage, answers, opponents, settings, annotator.endpoint)
    outcomes = tally(answers, opponents, comparisons)
    observed = {"win_rate": preferences(annotations), "net_win": net_wins(outcomes)}
    lengths = length_control(asked, outputs, annotations)
    observed |= {"lc_win_rate": lengths.observed} if lengths else {}
    observed = {metric: values for metric, values in observed.items() if values}
    with tempfile.TemporaryDirectory() as folder:
        write_alpaca_eval_files(Path(folder), name, annotator.parent().uri, asked, outputs, annotations)
        return stage.publish(
            count(annotations, outcomes),
            {"annotations": annotations, "comparisons": comparisons, "observations": observations(observed)},
            folder=Path(folder) if asked else None,
            metrics=figures(observed, Resampling(seed=settings.seed))
            | alpaca_eval_metrics(annotations)
            | head_to_head_metrics(outcomes)
            | (lengths.metrics if lengths else {}),
            tokens=sum(one.tokens for one in annotations) + sum(one.tokens for one in comparisons),
        )


def preferences(annotations: Sequence[Annotation]) -> Values:
    return {one.id: (one.preference,) for one in annotations if one.preference is not None}


def net_wins(outcomes: Mapping[str, str]) -> Values:
    return {prompt: (OUTCOME_VALUES[one],) for prompt, one in outcomes.items() if one in OUTCOME_VALUES}


@dataclass(frozen=True)
class LengthControl:
    """What the length-controlled win rate is made of, item by item, and how its figure came about."""

    observed: Values
    metrics: dict[str, float]


def length_control(
    instructions: Sequence[Instruction], outputs: Mapping[str, Candidate], annotations: Sequence[Annotation]
) -> LengthControl | None:
    """None where it is undefined: too few annotations, lengths that do not vary, or no win or no loss at all.

    An instruction without a valid annotation is left out; AlpacaEval would let its lengths and difficulty count.
    """
    preferred = {one.id: one.preference for one in annotations if one.preference is not None}
    known = [one for one in instructions if one.id in preferred]
    if not known:
        return None
    from components.metrics.length_control import gamed_rows, length_controlled_win_rate

    lengths = [(len(outputs[one.id].text), len(one.reference)) for one in known]
    difficulty = [one.difficulty for one in known if one.difficulty is not None]
    fitted = length_controlled_win_rate(
        [preferred[one.id] for one in known],
        [model for model, _ in lengths],
        [reference for _, reference in lengths],
        difficulty if len(difficulty) == len(known) else None,
        gamed_rows([one.difficulty or 0.0 for one in known], [one.gamed for one in known]),
    )
    if fitted is None:
        return None
    observed = {
        one.id: (preferred[one.id], *map(float, length), fitted.regularisation)
        + ((one.difficulty,) if len(difficulty) == len(known) and one.difficulty is not None else ())
        + tuple(value for baseline in one.gamed for value in baseline)
        for one, length in zip(known, lengths, strict=True)
    }
    metrics = {f"lc_{term}": value for term, value in fitted.coefficients.items()}
    if fitted.standard_error is not None:
        metrics["lc_win_rate_standard_error"] = fitted.standard_error
    return LengthControl(observed, metrics)


def alpaca_eval_metrics(annotations: Sequence[Annotation]) -> dict[str, float]:
    """How many of how many were judged, and the standard error of the win rate as AlpacaEval computes it."""
    if not annotations:
        return {}
    preferred = [one.preference for one in annotations if one.preference is not None]
    if len(preferred) < FEWEST_ANNOTATED * len(annotations):
        warn(f"the annotator gave a valid answer to {len(preferred)} of {len(annotations)} questions only")
    metrics = {"instructions": float(len(annotations)), "instructions_judged": float(len(preferred))}
    if preferred:
        metrics["discrete_win_rate"] = fmean(1.0 if p > 0.5 else 0.5 if p == 0.5 else 0.0 for p in preferred)
    if len(preferred) > 1:
        metrics["win_rate_standard_error"] = stdev(preferred) / math.sqrt(len(preferred))
    return metrics


def head_to_head_metrics(outcomes: Mapping[str, str]) -> dict[str, float]:
    """Shares of the prompts with a verdict in both orders, and how many had none; nothing without an opponent."""
    if not outcomes:
        return {}
    counts = Counter(outcomes.values())
    decided = sum(counts[outcome] for outcome in OUTCOME_VALUES)
    shares = {f"{outcome}_share": counts[outcome] / decided for outcome in OUTCOME_VALUES} if decided else {}
    return shares | {"head_to_head": float(decided), "head_to_head_unparsed": float(counts["unparsed"])}


def count(annotations: Sequence[Annotation], outcomes: Mapping[str, str]) -> Counts:
    """Valid annotations and comparisons, and the others by reason."""
    reasons = Counter(f"annotation: {one.unparsed}" for one in annotations if one.preference is None)
    unparsed = sum(one == "unparsed" for one in outcomes.values())
    kept = {"annotations": len(annotations) - reasons.total(), "head to head": len(outcomes) - unparsed}
    dropped = dict(reasons) | ({"head to head: no verdict in both orders": unparsed} if unparsed else {})
    return Counts(kept={name: n for name, n in kept.items() if n}, dropped=dropped)
