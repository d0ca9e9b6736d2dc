"""The model judges candidates: K judgements each, to be averaged (Yuan et al. 2024, section 2.2)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from components.core.context import open_step
from components.core.hashing import seed_from
from components.core.records import Candidate, Counts, Judgement, Manifest
from components.core.stage import Stage, parent, read_records
from components.judging.health import judge_health, score_shares
from components.judging.parser import ScoreFormat, parse_score
from components.judging.prompt import JudgePrompt
from components.judging.rubrics import judged_instruction, read_rubrics, round_rubrics
from components.judging.settings import JudgingSettings, RoundJudgingSettings
from components.metrics.bootstrap import Resampling
from components.metrics.observations import Values, figures, observations
from components.metrics.statistics import ROUND
from components.serving.answers import unanswered
from components.serving.client import Completion, Request
from components.serving.completions import Batch, Endpoint, answering_model, complete
from components.serving.engines.served_model import ServedModel, judge_of
from components.serving.settings import Generation


def judge_model(name: str, before: dict[str, Any], model: str, candidates: str) -> str:
    """Returns the judgements' URI."""
    with open_step(before["run"], f"judge {name.upper()}") as context:
        settings, judge = context.section("judging", RoundJudgingSettings), ServedModel(context, name, model)
        rubrics = round_rubrics(context, name, candidates, judge)
        return context.make(
            f"{name}/judging",
            lambda: judge_candidates(context.store, settings, model, candidates, judge, judge_of(context), rubrics),
        )


@dataclass(frozen=True)
class TextToJudge:
    """One response to one prompt, which is shown as `transcript` makes it of a conversation."""

    prompt_id: str
    candidate_id: str
    prompt: str
    text: str


def judge_candidates(
    root: str,
    settings: JudgingSettings,
    model: str,
    candidates: str,
    endpoint: Endpoint,
    other: Endpoint | None = None,
    rubrics: str = "",
) -> Manifest:
    """The judging stage: judgements of the complete candidates of a sampling stage, by `rubrics` where there are any.

    `model`, served at `endpoint`, judges its own candidates, unless there is an `other` judge.
    """
    inputs = {"candidates": parent(candidates)}  # first: where they are not made, no other judge is asked who it is
    if rubrics:
        inputs["rubrics"] = parent(rubrics)
    inputs["judge"] = answering_model("" if other else model, other or endpoint)
    stage = Stage(root, "judging", settings, inputs)
    if stage.manifest:
        return stage.manifest
    sampled = read_records(candidates, "candidates", Candidate)
    whole = [c for c in sampled if c.finish_reason == "stop"]
    unusable = Counter(unanswered(c.finish_reason) or "cut off by length" for c in sampled if c.finish_reason != "stop")
    written = read_rubrics(rubrics)
    texts = [TextToJudge(c.prompt_id, c.id, judged_instruction(c, written), c.text) for c in whole]
    judge_prompt = settings.judge_prompt()
    asked = judgements_of(texts, settings, settings.samples, judge_prompt)
    judgements = complete(stage, other or endpoint, asked)
    counts = count_judgements(judgements)
    counts.dropped |= {f"candidate not judged: {reason}": n for reason, n in unusable.items()}
    observed = round_health(judgements, whole, judge_prompt.score_format)
    return stage.publish(
        counts,
        {"judgements": judgements, "observations": observations(observed)},
        metrics=figures(observed, Resampling(seed=settings.seed)) | score_shares(judgements, judge_prompt.score_format),
        tokens=sum(j.tokens for j in judgements),
    )


def round_health(
    judgements: Sequence[Judgement], candidates: Sequence[Candidate], score_format: ScoreFormat
) -> dict[str, Values]:
    """The judge's health on a round's candidates, and their lengths; the item is a prompt."""
    lengths: dict[str, list[int]] = {}
    for candidate in candidates:
        lengths.setdefault(candidate.prompt_id, []).append(len(candidate.text))
    observed = judge_health(judgements, {candidate.id: candidate.text for candidate in candidates}, score_format)
    observed["candidate_length"] = {prompt: (fmean(group),) for prompt, group in lengths.items()}
    return {ROUND + metric: values for metric, values in observed.items()}


def judgements_of(
    texts: Sequence[TextToJudge],
    generation: Generation,
    samples: int,
    judge_prompt: JudgePrompt,
    first: int = 0,
    kind: str = "judgements",
) -> Batch[Judgement]:
    """`samples` judgements of each text, in the order of the texts; their numbers (and seeds) count from `first`."""
    by_id = {f"{text.candidate_id}/{k}": text for text in texts for k in range(first, first + samples)}
    prompts = {text.candidate_id: judge_prompt.fill(text.prompt, text.text) for text in texts}
    sampling = generation.sampling()
    requests = [
        Request(
            id,
            [{"role": "user", "content": prompts[text.candidate_id]}],
            sampling,
            seed_from(generation.seed, "judgement", id),
        )
        for id, text in by_id.items()
    ]

    def make(request: Request, answer: Completion) -> Judgement:
        text = by_id[request.id]
        score = parse_score(answer.text, answer.finish_reason == "length", judge_prompt.score_format)
        missing = unanswered(answer.finish_reason)
        return Judgement(
            id=request.id,
            prompt_id=text.prompt_id,
            candidate_id=text.candidate_id,
            completion=answer.text,
            finish_reason=answer.finish_reason,
            score=score.value,
            unparsed=f"judge {missing}" if missing else score.unparsed,
            judge_prompt=judge_prompt.sha256,
            seed=request.seed,
            tokens=answer.tokens,
        )

    return Batch(kind, Judgement, requests, make, generation.concurrency)


def mean_scores(judgements: Iterable[Judgement]) -> dict[str, float]:
    """Mean of the parsed scores by candidate id; a candidate without any is absent."""
    scores: dict[str, list[float]] = {}
    for judgement in judgements:
        if judgement.score is not None:
            scores.setdefault(judgement.candidate_id, []).append(judgement.score)
    return {id: fmean(values) for id, values in scores.items()}


def count_judgements(judgements: Sequence[Judgement]) -> Counts:
    """Parsed judgements, and the others by reason."""
    reasons = Counter(f"judgement unparsed: {j.unparsed}" for j in judgements if j.score is None)
    return Counts(kept={"judgements": len(judgements) - reasons.total()}, dropped=dict(reasons))


def parse_rate(judgements: Sequence[Judgement]) -> dict[str, float]:
    """The metric of that name; absent without judgements."""
    if not judgements:
        return {}
    return {"parse_rate": sum(judgement.score is not None for judgement in judgements) / len(judgements)}
