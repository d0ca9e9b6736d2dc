"""What a good response to each prompt would do, written by the judge before it judges: one rubric a prompt.

A list of criteria for the one task at hand in place of the same words for all of them (checklists: Viswanathan et al.
2025, 2507.18624).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from components.core.context import RunContext
from components.core.hashing import seed_from
from components.core.records import Candidate, Counts, Manifest, Prompt, Rubric
from components.core.stage import Stage, parent, read_manifest, read_records
from components.judging.prompt import neutralise, transcript
from components.judging.settings import RoundJudgingSettings, RubricSettings
from components.serving.answers import STOP, unanswered
from components.serving.client import Completion, Request
from components.serving.completions import Batch, Endpoint, answering_model, complete
from components.serving.engines.served_model import ServedModel, judge_of

HEADING = "A good response to this does the following:"


def round_rubrics(context: RunContext, name: str, candidates: str, judge: ServedModel) -> str:
    """URI of the rubrics of the prompts that these candidates answer, "" where the recipe has none written.

    `name` is the model's whose round it is, `judge` serves it; another judge writes its own.
    """
    rubrics = context.section("judging", RoundJudgingSettings).rubrics
    if not rubrics:
        return ""
    return context.make(
        f"{name}/rubrics",
        lambda: write_rubrics(context.store, rubrics, judge.model, candidates, judge, judge_of(context)),
    )


def write_rubrics(
    root: str, settings: RubricSettings, model: str, candidates: str, endpoint: Endpoint, other: Endpoint | None = None
) -> Manifest:
    """The rubrics stage: one of each prompt; what is cut off, empty or missing is counted, and judged without."""
    prompts = read_manifest(candidates).parents["prompts"].uri
    inputs = {"prompts": parent(prompts), "judge": answering_model("" if other else model, other or endpoint)}
    stage = Stage(root, "rubrics", settings, inputs)
    if stage.manifest:
        return stage.manifest
    asked = read_records(prompts, "prompts", Prompt)
    rubrics = complete(stage, other or endpoint, rubrics_of(asked, settings))
    missing = Counter(
        f"rubric: {unanswered(one.finish_reason) or ('empty' if one.finish_reason == STOP else 'cut off by length')}"
        for one in rubrics
        if not usable(one)
    )
    counts = Counts(kept={"rubrics": len(asked) - missing.total()}, dropped=dict(missing))
    return stage.publish(counts, {"rubrics": rubrics}, tokens=sum(one.tokens for one in rubrics))


def rubrics_of(prompts: Sequence[Prompt], settings: RubricSettings) -> Batch[Rubric]:
    """One question a prompt, in which the prompt is untrusted."""
    sampling = settings.sampling()
    requests = []
    for one in prompts:
        filled = settings.prompt.replace("{instruction}", neutralise(transcript(one.history, one.text)))
        requests.append(
            Request(one.id, [{"role": "user", "content": filled}], sampling, seed_from(settings.seed, "rubric", one.id))
        )

    def make(request: Request, answer: Completion) -> Rubric:
        text = answer.text.strip()
        return Rubric(
            id=request.id, text=text, finish_reason=answer.finish_reason, seed=request.seed, tokens=answer.tokens
        )

    return Batch("rubrics", Rubric, requests, make, settings.concurrency)


def usable(rubric: Rubric) -> bool:
    return rubric.finish_reason == STOP and bool(rubric.text)


def read_rubrics(rubrics: str) -> dict[str, str]:
    """Usable ones by prompt id, of a finished stage; none of ""."""
    return {one.id: one.text for one in read_records(rubrics, "rubrics", Rubric) if usable(one)} if rubrics else {}


def judged_instruction(candidate: Candidate, rubrics: Mapping[str, str]) -> str:
    """What the judge is shown as the instruction: the conversation, and below it the rubric of the prompt, if any.

    Both stand in the slot of the instruction, which no text of theirs can leave.
    """
    asked, rubric = transcript(candidate.history, candidate.prompt), rubrics.get(candidate.prompt_id)
    return f"{asked}\n\n{HEADING}\n{rubric}" if rubric else asked
