"""The model judges candidates: K judgements each, to be averaged (Yuan et al. 2024, section 2.2)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from statistics import fmean
from typing import Any

from components.core.context import open_step
from components.core.hashing import seed_from
from components.core.record_table import Again, NumberTable, RecordTable
from components.core.records import Candidate, Counts, Judgement, Manifest
from components.core.stage import Stage, each_record, parent
from components.judging.health import judge_health, score_shares
from components.judging.parser import parse_score
from components.judging.prompt import JudgePrompt
from components.judging.rubrics import judged_instruction, round_rubrics, rubrics_by_prompt
from components.judging.settings import JudgingSettings, RoundJudgingSettings
from components.metrics.bootstrap import Observed, Resampling
from components.metrics.observations import Measured, Values, figures, observations
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
    sampled = RecordTable(Candidate, each_record(candidates, "candidates", Candidate))
    written = rubrics_by_prompt(rubrics)
    whole = Again(lambda: (c for c in sampled.values() if c.finish_reason == "stop"))
    texts = Again(lambda: (TextToJudge(c.prompt_id, c.id, judged_instruction(c, written), c.text) for c in whole))
    judge_prompt = settings.judge_prompt()
    judgements = complete(stage, other or endpoint, judgements_of(texts, settings, settings.samples, judge_prompt))
    counts, tokens = count_judgements(judgements)
    unusable = Counter(
        unanswered(c.finish_reason) or "cut off by length" for c in sampled.values() if c.finish_reason != "stop"
    )
    counts.dropped |= {f"candidate not judged: {reason}": n for reason, n in unusable.items()}
    health = judge_health(judgements, lambda id: len(sampled[id].text), judge_prompt.score_format, _on_disk)
    shares = score_shares(health, judge_prompt.score_format)
    observed = of_round(health, whole, _on_disk)
    return stage.publish(
        counts,
        {"judgements": judgements, "observations": observations(observed)},
        metrics=figures(observed, Resampling(seed=settings.seed)) | shares,
        tokens=tokens,
    )


def _on_disk() -> Values:
    return NumberTable(tuple)


def of_round(
    health: Measured, candidates: Iterable[Candidate], table: Callable[[], Values] = dict
) -> dict[str, Observed]:
    """The judge's health on a round's candidates, and their lengths, which are put in a `table`, by the metrics' names;
    the item is a prompt, whose candidates stand together."""
    lengths = table()
    for prompt, group in groupby(candidates, lambda candidate: candidate.prompt_id):
        lengths[prompt] = (fmean(len(candidate.text) for candidate in group),)
    observed: dict[str, Observed] = {**health, "candidate_length": lengths}
    return {ROUND + metric: values for metric, values in observed.items()}


def judgements_of(
    texts: Iterable[TextToJudge],
    generation: Generation,
    samples: int,
    judge_prompt: JudgePrompt,
    first: int = 0,
    kind: str = "judgements",
) -> Batch[Judgement]:
    """`samples` judgements of each text, in the order of the texts; their numbers (and seeds) count from `first`.

    The texts are gone through several times.
    """
    sampling = generation.sampling()

    def requests() -> Iterator[Request]:
        for text in texts:
            messages = [{"role": "user", "content": judge_prompt.fill(text.prompt, text.text)}]
            for id in (f"{text.candidate_id}/{k}" for k in range(first, first + samples)):
                yield Request(id, messages, sampling, seed_from(generation.seed, "judgement", id), about=text)

    def make(request: Request, answer: Completion) -> Judgement:
        text: TextToJudge = request.about
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

    return Batch(kind, Judgement, Again(requests), make, generation.concurrency)


def mean_scores(judgements: Iterable[Judgement]) -> dict[str, float]:
    """Mean of the parsed scores by candidate id; a candidate without any is absent."""
    scores: dict[str, list[float]] = {}
    for judgement in judgements:
        if judgement.score is not None:
            scores.setdefault(judgement.candidate_id, []).append(judgement.score)
    return {id: fmean(values) for id, values in scores.items()}


def count_judgements(judgements: Iterable[Judgement]) -> tuple[Counts, int]:
    """Parsed judgements, and the others by reason; and the tokens of all."""
    parsed, tokens, reasons = 0, 0, Counter[str]()
    for one in judgements:
        tokens += one.tokens
        parsed += one.score is not None
        if one.score is None:
            reasons[f"judgement unparsed: {one.unparsed}"] += 1
    return Counts(kept={"judgements": parsed}, dropped=dict(reasons)), tokens


def parse_rate(judgements: Sequence[Judgement]) -> dict[str, float]:
    """The metric of that name; absent without judgements."""
    if not judgements:
        return {}
    return {"parse_rate": sum(judgement.score is not None for judgement in judgements) / len(judgements)}
