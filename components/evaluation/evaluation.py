"""Measure one served model: as a judge against human ranks, and what it answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import chain
from statistics import fmean

from components.core.records import (
    Candidate,
    Counts,
    Instruction,
    Judgement,
    Manifest,
    Parent,
    Prompt,
    Question,
    SeedPrompt,
)
from components.core.stage import Stage, parent, read_records
from components.evaluation.exact_answers.answering import Answers, ExactAnswers, answer_questions, compare
from components.evaluation.reward_modelling import agreement, undefined_correlations, unscored_pairs
from components.evaluation.settings import EvaluationSettings
from components.judging.health import judge_health, score_shares
from components.judging.judging import TextToJudge, count_judgements, judge_texts, mean_scores
from components.judging.parser import ScoreFormat
from components.metrics.bootstrap import Resampling
from components.metrics.observations import figures, observations
from components.sampling.sampling import answer_prompts, count_candidates

Values = dict[str, tuple[float, ...]]


@dataclass(frozen=True)
class EvaluationInputs:
    """URIs of the model, the seed data with the held-out prompts, instruction set and questions ("" for none)."""

    model: str
    seed_data: str
    instructions: str = ""
    questions: str = ""

    def parents(self) -> dict[str, Parent]:
        uris = {field.name: getattr(self, field.name) for field in fields(self)}
        return {role: parent(uri) for role, uri in uris.items() if uri}


def evaluate(root: str, settings: EvaluationSettings, inputs: EvaluationInputs, endpoint: str) -> Manifest:
    """The evaluation stage of the model that is served at `endpoint`."""
    stage = Stage(root, "evaluation", settings, inputs.parents())
    if stage.manifest:
        return stage.manifest
    held_out = read_records(inputs.seed_data, "eval", SeedPrompt)
    asked = read_records(inputs.instructions, "instructions", Instruction) if inputs.instructions else []
    answers = _answer(stage, "answers", held_out, settings, endpoint)
    outputs = _answer(stage, "outputs", asked, settings, endpoint)
    judgements = _judge_replies(stage, held_out, settings, endpoint)
    exact = _ask_questions(stage, inputs.questions, settings, endpoint)
    score_format = settings.judging.judge_prompt().score_format
    observed = observe(held_out, judgements, outputs or answers, score_format) | exact.observed
    return stage.publish(
        _counts(judgements, answers, outputs, exact.answers),
        {
            "answers": answers,
            "outputs": outputs,
            "judgements": judgements,
            "observations": observations(observed),
            **exact.answers,
        },
        metrics=figures(observed, Resampling(seed=settings.judging.seed))
        | _plain_metrics(held_out, judgements, answers, score_format)
        | exact.shares,
        tokens=sum(one.tokens for one in chain(answers, outputs, *exact.answers.values()))
        + sum(one.tokens for one in judgements),
    )


def observe(
    prompts: Sequence[SeedPrompt],
    judgements: Sequence[Judgement],
    answers: Sequence[Candidate],
    score_format: ScoreFormat,
) -> dict[str, Values]:
    """Observations by metric and item: agreement with people, the judge's health, the lengths of the answers."""
    replies = {reply.id: reply.text for prompt in prompts for reply in prompt.replies}
    lengths: dict[str, Values] = {"answer_length": {one.prompt_id: (float(len(one.text)),) for one in answers}}
    agreed = agreement(prompts, mean_scores(judgements), score_format.highest)
    return agreed | judge_health(judgements, replies, score_format) | lengths


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
    return judge_texts(stage, "judgements", texts, judging, judging.samples, judging.judge_prompt(), endpoint)


def _ask_questions(stage: Stage, uri: str, settings: EvaluationSettings, endpoint: str) -> ExactAnswers:
    how = settings.exact_answers
    if not uri or how is None:
        return ExactAnswers()
    questions = read_records(uri, "questions", Question)
    answers = answer_questions(stage, questions, how, settings.answers, endpoint)
    return compare(questions, answers, how.pattern)


def _plain_metrics(
    prompts: Sequence[SeedPrompt],
    judgements: Sequence[Judgement],
    answers: Sequence[Candidate],
    score_format: ScoreFormat,
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
        | score_shares(judgements, score_format)
        | ({"answers_cut": fmean(one.finish_reason == "length" for one in answers)} if answers else {})
    )


def _counts(
    judgements: Sequence[Judgement], answers: Sequence[Candidate], outputs: Sequence[Candidate], exact: Answers
) -> Counts:
    counts = count_judgements(judgements)
    counts.kept["answers"] = len(answers)
    if outputs:
        counts.kept["outputs"] = len(outputs)
    counts.kept |= {"answers_to_questions": sum(map(len, exact.values()))} if exact else {}
    counts.dropped |= count_candidates([*answers, *outputs, *chain(*exact.values())]).dropped
    return counts
