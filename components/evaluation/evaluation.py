"""Measure one served model: as a judge against human ranks, and its answers against another model's."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from components.evaluation.head_to_head import compare, tally
from components.evaluation.reward_modelling import pairwise_accuracy
from components.evaluation.settings import EvaluationSettings
from components.judging.judging import TextToJudge, count_judgements, judge_metrics, judge_texts, mean_scores
from components.judging.prompt import JudgePrompt
from components.records import Candidate, Comparison, Judgement, Manifest, Prompt, SeedPrompt
from components.sampling.sampling import answer_prompts, count_candidates
from components.stage import Stage, parent, read_records


def evaluate(
    root: str, settings: EvaluationSettings, model: str, seed_data: str, opponent: str, endpoint: str
) -> Manifest:
    """The evaluation stage of `model`; `opponent` is the evaluation stage of the model to compare with, or "".

    The model that is measured is also the judge of the head-to-head.
    """
    inputs = {"model": parent(model), "seed_data": parent(seed_data)}
    inputs |= {"opponent": parent(opponent)} if opponent else {}
    stage = Stage(root, "evaluation", settings, inputs)
    if stage.manifest:
        return stage.manifest
    held_out = read_records(seed_data, "eval", SeedPrompt)
    prompts = [Prompt(id=prompt.id, text=prompt.text) for prompt in held_out]
    answers = answer_prompts(stage, "answers", prompts, 1, settings.answers, endpoint)
    judgements = _judge_replies(stage, held_out, settings, endpoint)
    opponents = read_records(opponent, "answers", Candidate) if opponent else []
    comparisons = compare(stage, answers, opponents, settings.judging, settings.comparison_max_tokens, endpoint)
    counts = count_judgements(judgements)
    counts.kept |= {"answers": len(answers), "comparisons": sum(c.verdict is not None for c in comparisons)}
    counts.dropped |= count_candidates(answers).dropped
    return stage.publish(
        counts,
        {"answers": answers, "judgements": judgements, "comparisons": comparisons},
        metrics=judge_metrics(judgements)
        | pairwise_accuracy(held_out, mean_scores(judgements))
        | answer_metrics(answers)
        | head_to_head_metrics(answers, opponents, comparisons),
        tokens=sum(a.tokens for a in answers) + sum(j.tokens for j in judgements) + sum(c.tokens for c in comparisons),
    )


def _judge_replies(
    stage: Stage, prompts: Sequence[SeedPrompt], settings: EvaluationSettings, endpoint: str
) -> list[Judgement]:
    texts = [TextToJudge(p.id, reply.id, p.text, reply.text) for p in prompts for reply in p.replies]
    judging = settings.judging
    return judge_texts(stage, "judgements", texts, judging, judging.samples, JudgePrompt(judging.prompt), endpoint)


def answer_metrics(answers: Sequence[Candidate]) -> dict[str, float]:
    """Mean length in characters, and the share that hit the length limit."""
    if not answers:
        return {}
    return {
        "answer_length": fmean(len(answer.text) for answer in answers),
        "answers_cut": fmean(answer.finish_reason == "length" for answer in answers),
    }


def head_to_head_metrics(
    answers: Sequence[Candidate], opponents: Sequence[Candidate], comparisons: Sequence[Comparison]
) -> dict[str, float]:
    """Shares of the prompts with a verdict in both orders, and how many had none; nothing without an opponent."""
    if not opponents:
        return {}
    outcomes = tally(answers, opponents, comparisons)
    decided = sum(outcomes[outcome] for outcome in ("win", "tie", "loss"))
    shares = {f"{outcome}_rate": outcomes[outcome] / decided for outcome in ("win", "tie", "loss")} if decided else {}
    return shares | {"head_to_head": float(decided), "head_to_head_unparsed": float(outcomes["unparsed"])}
