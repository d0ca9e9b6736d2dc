"""EFT examples: judge prompts with the judgements that M1 learns to write (Yuan et al. 2024, section 2.1)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from components.core.context import open_step
from components.core.errors import UserError
from components.core.hashing import content_hash
from components.core.progress import say
from components.core.records import Counts, Example, Judgement, Manifest, Parent, SeedPrompt
from components.core.sources import fetch
from components.core.stage import Stage, parent, read_records
from components.eft.file import read_judgements, targets_from_file
from components.eft.ranks import EARNED, NOT_EARNED, require_five_point_scale, targets_from_ranks
from components.eft.settings import EftSettings
from components.eft.targets import Accepted, Target, accept, cap_classes
from components.judging.judging import TextToJudge, judgements_of, parse_rate
from components.judging.parser import ScoreFormat
from components.judging.prompt import JudgePrompt, transcript
from components.judging.settings import RoundJudgingSettings
from components.seed_data.contamination import read_evaluation_texts
from components.serving.completions import Endpoint, complete
from components.serving.engines.served_model import ServedModel

REMEDIES = {
    "model": "Raise eft.samples or eft.max_class_share, give EFT more prompts (data.eft_prompts, a lower data.ift), or "
    "use eft.source: ranks",
    "ranks": "Give EFT more prompts (data.eft_prompts, a lower data.ift), or raise eft.max_class_share",
    "file": "Use a file with more judgements, or raise eft.max_class_share",
}


def make_examples(before: dict[str, Any], model: str) -> str:
    """Returns the stage's URI. The SFT baseline `model` writes the judgements where the recipe has a model do that.

    Without a model the recipe has no IFT, and M0 is the baseline; it was measured before, so that its server is stopped
    here.
    """
    with open_step(before["run"], "write EFT examples") as context:
        settings, seeds = context.section("eft", EftSettings), before["data"]["seed_data"]
        judge_prompt = context.section("judging", RoundJudgingSettings).judge_prompt()
        baseline = ServedModel(context, "sft" if model else "m0", model or before["data"]["base"])
        judge: Endpoint = baseline if settings.source == "model" else ""
        texts = before["data"].get("evaluation_texts", "")
        made = context.make(
            "eft", lambda: make_eft(context.store, settings, seeds, judge_prompt, judge, baseline.model, texts)
        )
        if not model:
            baseline.stop()
        return made


@dataclass
class DraftTargets:
    """Targets before the cap; what was dropped by reason, the judgements sampled for them, and metrics."""

    targets: list[Target]
    dropped: Counter[str] = field(default_factory=Counter)
    judgements: list[Judgement] = field(default_factory=list)
    metrics: dict[str, float] = field(default_factory=dict)


def make_eft(
    root: str,
    settings: EftSettings,
    seed_data: str,
    judge_prompt: JudgePrompt,
    endpoint: Endpoint = "",
    model: str = "",
    evaluation_texts: str = "",
) -> Manifest:
    """The EFT stage: records "eft" (Example), and with `source: model` the "judgements" they were chosen from.

    `model` is the stage of the model that answers at `endpoint`; both are for `source: model` alone. A file's examples
    are compared with the stage `evaluation_texts` (the seed data were when they were made). Raises UserError
    when fewer than `min_examples` are left.
    """
    inputs = {
        "seed_data": parent(seed_data),
        "judge_prompt": Parent(uri="judge prompt", digest=judge_prompt.identity()),
    }
    with ExitStack() as files:
        source = files.enter_context(fetch(settings.file)) if settings.file else None
        if source:
            inputs["file"] = source.parent()
            inputs |= {"evaluation_texts": parent(evaluation_texts)} if evaluation_texts else {}
        if settings.source == "ranks":
            inputs["phrases"] = Parent(uri="phrases of each point", digest=content_hash([EARNED, NOT_EARNED]))
        if model and settings.source == "model":
            inputs["model"] = parent(model)
        stage = Stage(root, "eft", settings, inputs)
        if stage.manifest:
            return stage.manifest
        if source:
            written = read_judgements(source.path, source.name)
            evaluation = read_evaluation_texts(evaluation_texts, seed_data)
            draft = DraftTargets(*targets_from_file(written, evaluation, judge_prompt.score_format))
        elif settings.source == "ranks":
            require_five_point_scale(judge_prompt.score_format)
            draft = DraftTargets(targets_from_ranks(read_records(seed_data, "eft", SeedPrompt), settings.seed))
        else:
            prompts = read_records(seed_data, "eft", SeedPrompt)
            draft = _from_model(stage, settings, prompts, judge_prompt, endpoint)
    return _publish(stage, settings, draft, judge_prompt)


def _from_model(
    stage: Stage, settings: EftSettings, prompts: Sequence[SeedPrompt], judge_prompt: JudgePrompt, endpoint: Endpoint
) -> DraftTargets:
    """Tries until each prompt is accepted, there are enough examples, or `samples` tries are spent."""
    judgements: list[Judgement] = []
    limits = (settings.max_class_share, settings.seed, judge_prompt.score_format, settings.max_examples)
    accepted, metrics = Accepted(), {}
    for number in range(settings.samples):
        left = [prompt for prompt in prompts if prompt.id not in accepted.prompts]
        texts = [
            TextToJudge(p.id, reply.id, transcript(p.history, p.text), reply.text) for p in left for reply in p.replies
        ]
        judgements += complete(stage, endpoint, judgements_of(texts, settings, 1, judge_prompt, number))
        accepted = accept(prompts, judgements, judge_prompt.score_format)
        enough = len(cap_classes(accepted.targets, *limits))
        metrics[f"accept_rate_try_{number + 1}"] = len(accepted.prompts) / len(prompts)
        say(
            f"EFT: after try {number + 1} of {settings.samples} the scores of {len(accepted.prompts)} of "
            f"{len(prompts)} prompts are in human order: {enough} examples within max_class_share"
        )
        if len(accepted.prompts) == len(prompts) or enough == settings.max_examples:
            break
    metrics |= parse_rate(judgements) | {"accept_rate": len(accepted.prompts) / len(prompts)}
    if accepted.targets:
        metrics["judgements_per_target"] = len(judgements) / len(accepted.targets)
    return DraftTargets(accepted.targets, accepted.dropped, judgements, metrics)


def _publish(stage: Stage, settings: EftSettings, draft: DraftTargets, judge_prompt: JudgePrompt) -> Manifest:
    score_format = judge_prompt.score_format
    limits = (settings.max_class_share, settings.seed, score_format)
    targets = cap_classes(draft.targets, *limits, settings.max_examples)
    surplus = len(cap_classes(draft.targets, *limits)) - len(targets)
    too_frequent = len(draft.targets) - len(targets) - surplus
    dropped = draft.dropped + Counter(
        {"example: its score is too frequent": too_frequent, "example: more than asked for": surplus}
    )
    if len(targets) < settings.min_examples:
        raise _too_few(settings, draft, len(targets), dropped, score_format)
    examples = [
        Example(id=t.id, kind="eft", prompt=judge_prompt.fill(t.instruction, t.response), completion=t.judgement)
        for t in targets
    ]
    records: dict[str, Sequence[Example | Judgement]] = {"eft": examples}
    if draft.judgements:
        records["judgements"] = draft.judgements
    prompts = len({target.instruction for target in targets})
    shares = {
        f"share_of_score_{score}": count / len(targets) for score, count in _classes(targets, score_format).items()
    }
    return stage.publish(
        Counts(kept={"examples": len(examples), "prompts": prompts}, dropped=dict(dropped.most_common())),
        records,
        metrics=draft.metrics | shares,
        tokens=sum(judgement.tokens for judgement in draft.judgements),
    )


def _classes(targets: Sequence[Target], score_format: ScoreFormat) -> dict[str, int]:
    """Targets by the nearest point of the scale, from the lowest."""
    counts = Counter(score_format.nearest(target.score) for target in targets)
    return {f"{score:g}": count for score, count in sorted(counts.items())}


def _too_few(
    settings: EftSettings, draft: DraftTargets, left: int, dropped: Counter[str], score_format: ScoreFormat
) -> UserError:
    reasons = ", ".join(f"{count} {reason}" for reason, count in dropped.most_common()) or "nothing was dropped"
    classes = _classes(draft.targets, score_format)
    scores = ", ".join(f"{count} of score {score}" for score, count in classes.items()) or "none"
    remedy = f"{REMEDIES[settings.source]}, or lower eft.min_examples."
    if len(classes) == 2 and settings.max_class_share < 0.5:  # chosen and rejected alone are 5 and 1
        remedy = f"Set eft.max_class_share to 0.5 or more: two scores cannot have {settings.max_class_share:g} each."
    return UserError(
        f"{left} EFT examples are left, eft.min_examples is {settings.min_examples} ({reasons}; before the limit "
        f"max_class_share = {settings.max_class_share:g}: {scores})",
        remedy,
    )
