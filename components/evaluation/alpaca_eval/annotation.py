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
from components.evaluation.alpaca_eval.head_to_head import comparisons_of, tally, undecided
from components.evaluation.alpaca_eval.preferences import annotations_of, with_settled
from components.evaluation.alpaca_eval.settings import AnnotationSettings
from components.evaluation.alpaca_eval.template import OWN, Template, annotator_template
from components.metrics.bootstrap import Resampling
from components.metrics.labels import LC_FORMS, OFFICIAL_TEMPLATE
from components.metrics.observations import Values, figures, observations
from components.serving.answers import unanswered
from components.serving.completions import Endpoint, answering_model, complete_together, endpoint_address

OUTCOME_VALUES = {"win": 1.0, "tie": 0.0, "loss": -1.0}
# An annotator that answers less than this share of the questions says little about any model.
FEWEST_ANNOTATED = 0.5


@dataclass(frozen=True)
class Annotator:
    """Who compares: a model of the run (its stage), or, without one, whatever answers at `endpoint`."""

    endpoint: Endpoint
    model: str = ""

    def parent(self) -> Parent:
        return answering_model(self.model, self.endpoint)

    def name(self) -> str:
        """In AlpacaEval's files: by what its identity is, and the same wherever the store or the endpoint lies."""
        if self.model:
            return "/".join(self.model.rstrip("/").split("/")[-2:])  # its stage and key
        return endpoint_address(self.endpoint).model or f"annotator-{self.parent().digest[:12]}"


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
    template = annotator_template(settings.template)
    inputs |= {"instructions": parent(instructions), "template": template.parent()} if instructions else {}
    stage = Stage(root, "annotation", settings, inputs)
    if stage.manifest:
        return stage.manifest
    instruction_set = read_records(instructions, "instructions", Instruction) if instructions else []
    outputs = {output.prompt_id: output for output in read_records(evaluation, "outputs", Candidate)}
    both = [read_records(uri, "answers", Candidate) for uri in (evaluation, opponent)] if opponent else [[], []]
    answers, opponents = ([a for a in asked if not unanswered(a.finish_reason)] for asked in both)
    asked = annotations_of(instruction_set, outputs, settings, template)
    head_to_head = comparisons_of(answers, opponents, settings)
    complete_together(stage, annotator.endpoint, [asked, head_to_head])
    annotations, comparisons = with_settled(instruction_set, outputs, asked.records), list(head_to_head.records)
    outcomes = tally(answers, opponents, comparisons)
    without = undecided({answer.prompt_id for asked in both for answer in asked}, outcomes, comparisons)
    observed = {"win_rate": preferences(annotations), "net_win": net_wins(outcomes)}
    lengths = length_control(instruction_set, outputs, annotations)
    observed |= {"lc_win_rate": lengths.observed} if lengths else {}
    observed = {metric: values for metric, values in observed.items() if values}
    with tempfile.TemporaryDirectory() as folder:
        write_alpaca_eval_files(Path(folder), name, annotator.name(), instruction_set, outputs, annotations)
        return stage.publish(
            count(annotations, outcomes, without),
            {"annotations": annotations, "comparisons": comparisons, "observations": observations(observed)},
            folder=Path(folder) if instruction_set else None,
            metrics=figures(observed, Resampling(seed=settings.seed))
            | alpaca_eval_metrics(annotations, template)
            | head_to_head_metrics(outcomes)
            | (lengths.metrics if lengths else {}),
            tokens=sum(made.tokens for made in annotations) + sum(made.tokens for made in comparisons),
        )


def preferences(annotations: Sequence[Annotation]) -> Values:
    """Observations of the metric win_rate: 0 to 1 by instruction, where the annotator gave a valid answer."""
    return {a.id: (a.preference,) for a in annotations if a.preference is not None}


def net_wins(outcomes: Mapping[str, str]) -> Values:
    """Observations of the metric net_win by prompt; `outcomes` are those of `tally`."""
    return {prompt: (OUTCOME_VALUES[outcome],) for prompt, outcome in outcomes.items() if outcome in OUTCOME_VALUES}


@dataclass(frozen=True)
class LengthControl:
    """What the length-controlled win rate is made of, item by item, and how its figure came about."""

    observed: Values
    metrics: dict[str, float]


def length_control(
    instructions: Sequence[Instruction], outputs: Mapping[str, Candidate], annotations: Sequence[Annotation]
) -> LengthControl | None:
    """None where it is undefined: too few annotations, lengths that do not vary, or no win or no loss at all.

    As AlpacaEval does it, an instruction without a valid annotation adds its lengths, difficulty and gamed rows, and is
    predicted; the regression is fitted to the others.
    """
    if not any(a.preference is not None for a in annotations):
        return None
    from components.metrics.length_control import gamed_rows, length_controlled_win_rate

    by_id = {a.id: a.preference for a in annotations}
    preferred = [math.nan if (p := by_id.get(i.id)) is None else p for i in instructions]
    lengths = [(len(outputs[i.id].text), len(i.reference)) for i in instructions]
    difficulty = [i.difficulty for i in instructions if i.difficulty is not None]
    all_known = len(difficulty) == len(instructions)
    fitted = length_controlled_win_rate(
        preferred,
        [model for model, _ in lengths],
        [reference for _, reference in lengths],
        difficulty if all_known else None,
        gamed_rows(difficulty, [i.gamed for i in instructions]) if all_known else None,
    )
    if fitted is None:
        return None
    observed = {
        i.id: (preference, *map(float, length), fitted.regularisation)
        + ((i.difficulty,) if all_known and i.difficulty is not None else ())
        + tuple(value for baseline in i.gamed for value in baseline if all_known)
        for i, preference, length in zip(instructions, preferred, lengths, strict=True)
    }
    form = "minimal" if not all_known else "v1" if any(i.gamed for i in instructions) else "noreg"
    metrics = {f"lc_{term}": value for term, value in fitted.coefficients.items()} | {LC_FORMS[form]: 1.0}
    if fitted.standard_error is not None:
        metrics["lc_win_rate_standard_error"] = fitted.standard_error
    return LengthControl(observed, metrics)


def alpaca_eval_metrics(annotations: Sequence[Annotation], template: Template = OWN) -> dict[str, float]:
    """How many of how many were judged, the standard error of the win rate as AlpacaEval computes it, and whether the
    annotator was asked in AlpacaEval's own words (1 or 0)."""
    if not annotations:
        return {}
    preferred = [a.preference for a in annotations if a.preference is not None]
    if len(preferred) < FEWEST_ANNOTATED * len(annotations):
        warn(f"the annotator gave a valid answer to {len(preferred)} of {len(annotations)} questions only")
    metrics = {"instructions": float(len(annotations)), "instructions_judged": float(len(preferred))}
    if preferred:
        metrics[OFFICIAL_TEMPLATE] = float(template.official)
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


def count(annotations: Sequence[Annotation], outcomes: Mapping[str, str], without: Counter[str]) -> Counts:
    """Valid annotations and comparisons, and the others by reason; `without` are the prompts that have no outcome."""
    reasons = Counter(f"annotation: {a.unparsed}" for a in annotations if a.preference is None)
    decided = sum(outcome in OUTCOME_VALUES for outcome in outcomes.values())
    kept = {"annotations": len(annotations) - reasons.total(), "head to head": decided}
    dropped = reasons + Counter({f"head to head: {reason}": number for reason, number in without.items()})
    return Counts(kept={name: n for name, n in kept.items() if n}, dropped=dict(dropped))
