"""Measure one served model: as a judge against human ranks, and what it answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from components.evaluation.reward_modelling import agreement, undefined_correlations, unscored_pairs
from components.evaluation.settings import EvaluationSettings
from components.judging.health import judge_health, score_shares
from components.judging.judging import TextToJudge, count_judgements, judge_texts, mean_scores
from components.judging.prompt import JudgePrompt
from components.metrics.bootstrap import Resampling
from components.metrics.observations import figures, observations
from components.records import Candidate, Counts, Instruction, Judgement, Manifest, Prompt, SeedPrompt
from components.sampling.sampling import answer_prompts, count_candidates
from components.stage import Stage, parent, read_records

Values = dict[str, tuple[float, ...]]


@dataclass(frozen=True)
class EvaluationInputs:
    """URIs of the model, the seed data with the held-out prompts, and the instruction set ("" for none)."""

    model: str
    seed_data: str
    instructions: str = ""


def evaluate(root: str, settings: EvaluationSettings, inputs: EvaluationInputs, endpoint: str) -> Manifest:
    """The evaluation stage of the model that is served at `endpoint`."""
    parents = {"model": parent(inputs.model), "seed_data": parent(inputs.seed_data)}
    parents |= {"instructions": parent(inputs.instructions)} if inputs.instructions else {}
    stage = Stage(root, "evaluation", settings, parents)
    if stage.manifest:
        return stage.manifest
    held_out = read_records(inputs.seed_data, "eval", SeedPrompt)
    asked = read_records(inputs.instructions, "instructions", Instruction) if inputs.instructions else []
    answers = _answer(stage, "answers", held_out, settings, endpoint)
    outputs = _answer(stage, "outputs", asked, settings, endpoint)
    judgements = _judge_replies(stage, held_out, settings, endpoint)
    observed = observe(held_out, judgements, outputs or answers)
    return stage.publish(
        _counts(judgements, answers, outputs),
        {
            "answers": answers,
            "outputs": outputs,
            "judgements": judgements,
            "observations": observations(observed),
        },
        metrics=figures(observed, Resampling(seed=settings.judging.seed))
        | _plain_metrics(held_out, judgements, answers),
        tokens=sum(one.tokens for one in [*answers, *outputs]) + sum(one.tokens for one in judgements),
    )


def observe(
    prompts: Sequence[SeedPrompt], judgements: Sequence[Judgement], answers: Sequence[Candidate]
) -> dict[str, Values]:
    """Observations by metric and item: agreement with people, the judge's health, the lengths of the answers."""
    replies = {reply.id: reply.text for prompt in prompts for reply in prompt.replies}
    lengths: dict[str, Values] = {"answer_length": {one.prompt_id: (float(len(one.text)),) for one in answers}}
    return agreement(prompts, mean_scores(judgements)) | judge_health(judgements, replies) | lengths


def _answer(
    stage: Stage, kind: str, asked: Sequence[SeedPrompt | Instruction], settings: EvaluationSettings, endpoint: str
) -> list[Candidate]:
    prompts = [Prompt(id=one.id, text=one.text) for one in asked]
    return answer_prompts(stage, kind, prompts, 1, settings.answers, endpoint)


def _judge_replies(
    stage: Stage, prompts: Sequence[SeedPrompt], settings: EvaluationSettings, endpoint: str
) -> list[Judgement]:
    texts = [TextToJudge(p.id, reply.id, p.text, reply.text) for p in prompts for reply in p.replies]
    judging = settings.judging
    return judge_texts(stage, "judgements", texts, judging, judging.samples, JudgePrompt(judging.prompt), endpoint)


def _plain_metrics(
    prompts: Sequence[SeedPrompt], judgements: Sequence[Judgement], answers: Sequence[Candidate]
) -> dict[str, float]:
    """Figures without an interval: histogram, what could not be compared, the share of answers that were cut off."""
    scores = mean_scores(judgements)
    parsed = [one.score for one in judgements if one.score is not None]
    return (
        {
            "pairwise_unscored": float(unscored_pairs(prompts, scores)),
            "correlation_undefined": float(undefined_correlations(prompts, scores)),
        }
        | ({"mean_score": fmean(parsed)} if parsed else {})
        | score_shares(judgements)
        | ({"answers_cut": fmean(one.finish_reason == "length" for one in answers)} if answers else {})
    )


def _counts(judgements: Sequence[Judgement], answers: Sequence[Candidate], outputs: Sequence[Candidate]) -> Counts:
    counts = count_judgements(judgements)
    counts.kept["answers"] = len(answers)
    if outputs:
        counts.kept["outputs"] = len(outputs)
    counts.dropped |= count_candidates([*answers, *outputs]).dropped
    return counts
