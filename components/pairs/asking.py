"""What pairs of some methods need beside a round's candidates and judgements, and who is asked for it.

All of it is asked in the step that makes the pairs, where no model of the run is served: one server at a time, started
where something is left to ask, and stopped after it.
"""

from __future__ import annotations

from typing import Any

from components.core.context import RunContext
from components.core.errors import UserError
from components.core.records import Example, Manifest, Prompt
from components.core.stage import Stage, parent, read_records
from components.judging.judging import judge_candidates
from components.judging.rubrics import round_rubrics
from components.judging.settings import RoundJudgingSettings
from components.pairs.comparing import compare_candidates
from components.pairs.meta_judge import compare_judgements
from components.pairs.settings import PairsSettings
from components.sampling.sampling import answers_to, publish_candidates, sample_candidates
from components.sampling.settings import SamplingSettings
from components.serving.completions import Endpoint, complete
from components.serving.engines.served_model import ServedModel, judge_of


def ask_besides(context: RunContext, before: dict[str, Any], settings: PairsSettings) -> dict[str, str]:
    """URIs by role, for make_pairs; empty for the paper's pairs. `settings` are those of the round."""
    besides: dict[str, str] = {}
    if settings.human_rounds:
        besides |= _human_answers(context, before)
    if settings.rejected_from == "first":
        besides |= _first_answers(context, before)
    if settings.consistency:
        besides |= _previous_judgements(context, before)
    if settings.comparisons or settings.meta_judge:
        besides |= _compared(context, before, settings)
    if settings.exact_answers:
        besides["questions"] = before["data"]["checked"]
    return besides


def require_own_judge(context: RunContext) -> None:
    """Raises UserError where a model of the run is to be a judge for its own sake, and another judges in its place."""
    pairs = context.section("pairs", PairsSettings)
    reasons = {
        "pairs.consistency": "compares how two models of the run rank answers" if pairs.consistency else "",
        "pairs.meta_judge": "trains the model on its own judgements" if pairs.meta_judge else "",
    }
    for name, reason in reasons.items():
        if reason and judge_of(context):
            off = "false" if name == "pairs.consistency" else "null"
            raise UserError(
                f"{name} {reason}, and another judge scores them all",
                f"Leave out the judge's endpoint, or set {name} to {off}.",
            )


def _human_answers(context: RunContext, before: dict[str, Any]) -> dict[str, str]:
    """SPIN: Mt answers each IFT prompt once."""
    name, seeds = before["name"], before["data"]["seed_data"]
    settings, policy = context.section("sampling", SamplingSettings), ServedModel(context, name, before["model"])
    answers = context.make(
        f"{name}/human_prompts", lambda: answer_human_prompts(context.store, settings, before["model"], seeds, policy)
    )
    policy.stop()
    return {"human": seeds, "human_answers": answers}


def answer_human_prompts(
    root: str, settings: SamplingSettings, model: str, seed_data: str, endpoint: Endpoint
) -> Manifest:
    """A sampling stage of one candidate for each IFT example of the seed data, by the example's id."""
    stage = Stage(root, "sampling", settings, {"model": parent(model), "human": parent(seed_data)})
    if stage.manifest:
        return stage.manifest
    examples = read_records(seed_data, "ift", Example)
    prompts = [Prompt(id=one.id, text=one.prompt, history=one.history) for one in examples]
    keep = settings.reasoning == "keep"
    return publish_candidates(stage, complete(stage, endpoint, answers_to("candidates", prompts, 1, settings, keep)))


def _first_answers(context: RunContext, before: dict[str, Any]) -> dict[str, str]:
    """Temporal pairs: M1 answers the round's prompts, and Mt's judge scores these answers as it does Mt's own."""
    name, first = before["name"], context.state("m1")
    sampling, judging = context.section("sampling", SamplingSettings), context.section("judging", RoundJudgingSettings)
    prompts, root = before["prompts"][int(name[1:]) - 1], context.store
    answering, policy = ServedModel(context, "m1", first["model"]), ServedModel(context, name, before["model"])
    answers = context.make(
        f"{name}/first_sampling", lambda: sample_candidates(root, sampling, first["model"], prompts, answering)
    )
    answering.stop()
    rubrics = round_rubrics(context, name, before["candidates"], policy)
    judgements = context.make(
        f"{name}/first_judging",
        lambda: judge_candidates(root, judging, before["model"], answers, policy, judge_of(context), rubrics),
    )
    policy.stop()
    return {"first_candidates": answers, "first_judgements": judgements}


def _previous_judgements(context: RunContext, before: dict[str, Any]) -> dict[str, str]:
    """CREAM: M(t-1) judges what Mt has answered, as Mt did, by Mt's rubrics where there are any."""
    name, settings = before["name"], context.section("judging", RoundJudgingSettings)
    previous = context.state(f"m{int(name[1:]) - 1}")
    judge = ServedModel(context, previous["name"], previous["model"])
    rubrics = round_rubrics(context, name, before["candidates"], ServedModel(context, name, before["model"]))
    judgements = context.make(
        f"{name}/previous_judging",
        lambda: judge_candidates(
            context.store, settings, previous["model"], before["candidates"], judge, rubrics=rubrics
        ),
    )
    judge.stop()
    return {"previous_judgements": judgements}


def _compared(context: RunContext, before: dict[str, Any], settings: PairsSettings) -> dict[str, str]:
    """Answers compared two by two by who has judged them, judgements by Mt (Meta-Rewarding)."""
    name, model, candidates = before["name"], before["model"], before["candidates"]
    policy, made = ServedModel(context, name, model), {}
    if comparing := settings.comparisons:
        made["comparisons"] = context.make(
            f"{name}/pairwise_judging",
            lambda: compare_candidates(context.store, comparing, model, candidates, policy, judge_of(context)),
        )
    if judging := settings.meta_judge:
        made["meta_judgements"] = context.make(
            f"{name}/meta_judging",
            lambda: compare_judgements(context.store, judging, model, candidates, before["judgements"], policy),
        )
    policy.stop()
    return made
