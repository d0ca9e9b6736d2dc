"""Models that are made up, but measured by the real functions: their judgements and answers are records."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from components.core.records import Annotation, Candidate, Judgement, Reply, SeedPrompt
from components.evaluation.alpaca_eval.annotation import net_wins, preferences
from components.evaluation.evaluation import observe
from components.judging.health import judge_health
from components.judging.judging import mean_scores, of_round
from components.judging.parser import BUILT_IN_FORMAT, parse_score
from components.metrics.bootstrap import Observed

SAMPLES = 3


@dataclass(frozen=True)
class Model:
    """How a model judges and answers. Scores are 4, 3, 2 for human ranks 0, 1, 2, plus noise.

    `noise`: standard deviation of one judgement, in points. `parsed`: share of its judgements that end on a score.
    `always`: the score that it gives whatever it reads. `by_length`: it scores replies by their length alone.
    `length`: characters of an answer, the mean. `wins`: mean preference of the annotator for its answers.
    """

    noise: float = 0.8
    parsed: float = 1.0
    always: int | None = None
    by_length: bool = False
    length: float = 400.0
    wins: float = 0.3


def prompts(count: int) -> list[SeedPrompt]:
    """Prompts with three ranked replies, the best of them not always the longest."""
    draws = np.random.default_rng(count)
    return [
        SeedPrompt(
            id=f"p{n:04}",
            text=f"question {n}",
            replies=[Reply(id=f"p{n:04}-{r}", text="x" * int(draws.integers(50, 900)), rank=r) for r in range(3)],
        )
        for n in range(count)
    ]


def measured(model: Model, count: int = 60, seed: int = 0) -> dict[str, Observed]:
    """What the stages evaluation, judging and annotation would observe of it on the same `count` prompts."""
    draws, asked = np.random.default_rng([seed, count]), prompts(count)
    own = [_candidate(prompt, reply.id, reply.text) for prompt in asked for reply in prompt.replies]
    wins = [_annotation(str(n), float(np.clip(draws.normal(model.wins, 0.2), 0, 1))) for n in range(count)]
    outcomes = draws.choice(["win", "tie", "loss"], count, p=[0.3, 0.4, 0.3])
    judged, lengths = judge(model, asked, draws), {one.id: len(one.text) for one in own}
    return {
        **observe(asked, judged, mean_scores(judged), answers(model, asked, draws), BUILT_IN_FORMAT),
        **of_round(judge_health(judge(model, asked, draws), lambda id: lengths[id], BUILT_IN_FORMAT), own),
        "win_rate": preferences(wins),
        "net_win": net_wins({str(n): str(outcome) for n, outcome in enumerate(outcomes)}),
    }


def judge(model: Model, asked: list[SeedPrompt], draws: np.random.Generator) -> list[Judgement]:
    return [
        _judgement(prompt, reply, k, _completion(model, reply, draws))
        for prompt in asked
        for reply in prompt.replies
        for k in range(SAMPLES)
    ]


def answers(model: Model, asked: list[SeedPrompt], draws: np.random.Generator) -> list[Candidate]:
    lengths = model.length * draws.gamma(4, 1 / 4, len(asked))
    return [_candidate(prompt, prompt.id, "y" * int(n)) for prompt, n in zip(asked, lengths, strict=True)]


def _completion(model: Model, reply: Reply, draws: np.random.Generator) -> str:
    merit = len(reply.text) / 180 if model.by_length else 4 - (reply.rank or 0) + draws.normal(0, model.noise)
    score = model.always if model.always is not None else int(np.clip(round(merit), 0, 5))
    return f"It answers the question. Score: {score}" if draws.random() < model.parsed else "It is it is it is"


def _judgement(prompt: SeedPrompt, reply: Reply, k: int, completion: str) -> Judgement:
    score = parse_score(completion)
    return Judgement(
        id=f"{reply.id}/{k}",
        prompt_id=prompt.id,
        candidate_id=reply.id,
        completion=completion,
        finish_reason="stop",
        score=score.value,
        unparsed=score.unparsed,
        judge_prompt="",
        seed=k,
        tokens=9,
    )


def _candidate(prompt: SeedPrompt, id: str, text: str) -> Candidate:
    return Candidate(
        id=id, prompt_id=prompt.id, prompt=prompt.text, text=text, finish_reason="stop", seed=0, tokens=len(text)
    )


def _annotation(id: str, preference: float) -> Annotation:
    return Annotation(id=id, preference=preference, form="weighted", switched=False, completion="M", seed=0, tokens=1)
