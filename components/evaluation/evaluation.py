"""Measure one served model: as a judge against human ranks, and what it answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
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
from components.evaluation.exact_answers.answering import Answers, ExactAnswers, answers_to_questions, compare
from components.evaluation.reward_modelling import agreement, undefined_correlations, unscored_pairs
from components.evaluation.settings import EvaluationSettings
from components.judging.health import judge_health, score_shares
from components.judging.judging import TextToJudge, count_judgements, judgements_of, mean_scores
from components.judging.parser import ScoreFormat
from components.judging.prompt import transcript
from components.metrics.bootstrap import Resampling
from components.metrics.observations import Values, figures, observations
from components.sampling.sampling import answers_to
from components.serving.answers import unanswered
from components.serving.completions import Batch, Endpoint, complete_together


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


def evaluate(root: str, settings: EvaluationSettings, inputs: EvaluationInputs, endpoint: Endpoint) -> Manifest:
    """The evaluation stage of the model that is served at `endpoint`."""
    stage = Stage(root, "evaluation", settings, inputs.parents())
    if stage.manifest:
        return stage.manifest
    held_out = read_records(inputs.seed_data, "eval", SeedPrompt)
    instructions = read_records(inputs.instructions, "instructions", Instruction) if inputs.instructions else []
    asked = [Prompt(id=prompt.id, text=prompt.text, history=prompt.history) for prompt in held_out]
    to_held_out = answers_to("answers", asked, 1, settings.answers)
    asked = [Prompt(id=instruction.id, text=instruction.text) for instruction in instructions]
    to_instructions = answers_to("outputs", asked, 1, settings.answers)
    replies = [
        TextToJudge(p.id, reply.id, transcript(p.history, p.text), reply.text) for p in held_out for reply in p.replies
    ]
    judging, judge_prompt = settings.judging, settings.judging.judge_prompt()
    of_replies = judgements_of(replies, judging, judging.samples, judge_prompt)
    questions, to_questions = _questions(inputs.questions, settings)
    complete_together(stage, endpoint, [to_held_out, to_instructions, of_replies, *to_questions])
    answers, outputs, judgements = list(to_held_out.records), list(to_instructions.records), of_replies.records
    exact = _compare(questions, to_questions, settings)
    scores = mean_scores(judgements)
    observed = observe(held_out, judgements, scores, outputs or answers, judge_prompt.score_format)
    of_judge, tokens = count_judgements(judgements)
    return stage.publish(
        _counts(of_judge, answers, outputs, exact.answers),
        {
            "answers": answers,
            "outputs": outputs,
            "judgements": judgements,
            "observations": observations(observed | exact.observed),
            **exact.answers,
        },
        metrics=figures(observed | exact.observed, Resampling(seed=judging.seed))
        | score_shares(observed, judge_prompt.score_format)
        | _metrics_without_interval(held_out, judgements, scores, answers)
        | exact.shares,
        tokens=tokens + sum(answer.tokens for answer in chain(answers, outputs, *exact.answers.values())),
    )


def observe(
    prompts: Sequence[SeedPrompt],
    judgements: Iterable[Judgement],
    scores: Mapping[str, float],
    answers: Sequence[Candidate],
    score_format: ScoreFormat,
) -> dict[str, Values]:
    """Observations by metric and item: agreement with people, the judge's health, the lengths of the answers.

    `scores` are the means of the judgements, by the reply's id.
    """
    replies = {reply.id: len(reply.text) for prompt in prompts for reply in prompt.replies}
    answered = [answer for answer in answers if not unanswered(answer.finish_reason)]
    lengths: Values = {answer.prompt_id: (float(len(answer.text)),) for answer in answered}
    agreed = agreement(prompts, scores, score_format.highest)
    return agreed | judge_health(judgements, replies.__getitem__, score_format) | {"answer_length": lengths}


def _questions(uri: str, settings: EvaluationSettings) -> tuple[list[Question], list[Batch[Candidate]]]:
    """The questions of the stage `uri`, and how they are asked; none where the recipe has none."""
    if not uri or settings.exact_answers is None:
        return [], []
    questions = read_records(uri, "questions", Question)
    return questions, answers_to_questions(questions, settings.exact_answers, settings.answers)


def _compare(
    questions: Sequence[Question], answered: Sequence[Batch[Candidate]], settings: EvaluationSettings
) -> ExactAnswers:
    if settings.exact_answers is None:
        return ExactAnswers()
    return compare(questions, {batch.kind: list(batch.records) for batch in answered}, settings.exact_answers.pattern)


def _metrics_without_interval(
    prompts: Sequence[SeedPrompt],
    judgements: Iterable[Judgement],
    scores: Mapping[str, float],
    answers: Sequence[Candidate],
) -> dict[str, float]:
    """What could not be compared, the mean of all scores, the share of answers that were cut off."""
    metrics = {
        "pairwise_unscored": float(unscored_pairs(prompts, scores)),
        "correlation_undefined": float(undefined_correlations(prompts, scores)),
    }
    if scores:
        metrics["mean_score"] = fmean(judgement.score for judgement in judgements if judgement.score is not None)
    if answers:
        metrics["answers_cut"] = fmean(answer.finish_reason == "length" for answer in answers)
    return metrics


def _counts(counts: Counts, answers: Sequence[Candidate], outputs: Sequence[Candidate], exact: Answers) -> Counts:
    """The judge's, and the others: what was cut off is an answer, too, so kept and dropped add up to what was asked."""
    missing = Counter[str]()
    to_questions = list(chain(*exact.values()))
    for kind, given in (("answers", answers), ("outputs", outputs), ("answers_to_questions", to_questions)):
        reasons = Counter(reason for answer in given if (reason := unanswered(answer.finish_reason)))
        missing += reasons
        if given or kind == "answers":
            counts.kept[kind] = len(given) - reasons.total()
    counts.dropped |= missing
    return counts
