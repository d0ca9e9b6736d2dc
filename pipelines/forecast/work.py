"""What is to be done for one stage: how many answers are asked of a model, how many steps are trained.

It is counted from what the run's finished stages hold and, where those are not made yet, from the recipe. The same
count is taken of earlier runs, by whose seconds the work of this one is measured (forecast/estimate.py).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from components.core.records import Counts
from pipelines.plan.work import EXAMPLES_PER_EFT_PROMPT, Training
from pipelines.recipe import Recipe

MT_BENCH_QUESTIONS, TURNS = 80, 2
# Asked beside a round's answers and judgements, by methods that need it (docs/methods.md).
BESIDES = (
    *("rubrics", "pairwise_judging", "meta_judging"),
    *("human_prompts", "first_sampling", "first_judging", "previous_judging"),
)
ALPACA_EVAL, ALPACA_EVAL_ITEMS = "tatsu-lab/alpaca_eval/", 805


class Asked(NamedTuple):
    """So many answers of one kind, of so many new tokens at most."""

    what: str
    number: int
    longest: int


@dataclass(frozen=True)
class Work:
    """`examples` are those of all epochs; `bound`: more than this may not be needed, as what it is made of is not
    made yet; `uncounted` says what cannot be counted."""

    asked: tuple[Asked, ...] = ()
    steps: int = 0
    examples: int = 0
    bound: bool = False
    uncounted: str = ""

    @property
    def size(self) -> int:
        """What time grows with: tokens that may be written, or examples that are trained on."""
        return self.examples or sum(one.number * one.longest for one in self.asked)


def work_of(name: str, recipe: Recipe, counts: Mapping[str, Counts]) -> Work:
    """The work of the stage `name` ("m1/judging"); `counts` are those of the run's finished stages by name."""
    model, _, kind = name.rpartition("/")
    of_run = RunCounts(recipe, counts)
    match kind:
        case "sft":
            return _sft(of_run, with_eft=model != "sft")
        case "dpo":
            return _dpo(of_run, f"m{int(model[1:]) - 1}")
        case "eft":
            return _eft(of_run)
        case "prompts" if recipe.prompts.source != "file":
            waves = math.ceil(recipe.prompts.count / recipe.prompts.wave)
            return Work((Asked("attempts at prompts", waves * recipe.prompts.wave, recipe.prompts.max_tokens),))
        case "sampling" | "first_sampling":
            candidates = of_run.prompts(model) * recipe.sampling.candidates
            return Work((Asked("candidates", candidates, recipe.sampling.max_tokens),))
        case "human_prompts":
            return Work((Asked("candidates", of_run.seeds("ift", recipe.data.ift), recipe.sampling.max_tokens),))
        case "judging" | "first_judging" | "previous_judging":
            sampled = "first_sampling" if kind == "first_judging" else "sampling"
            whole = of_run.kept(f"{model}/{sampled}", "candidates")
            candidates = of_run.prompts(model) * recipe.sampling.candidates if whole is None else whole
            judged = Asked("judgements", candidates * recipe.judging.samples, recipe.judging.max_tokens)
            return Work((judged,), bound=whole is None)
        case "rubrics" if rubrics := recipe.judging.rubrics:
            return Work((Asked("rubrics", of_run.prompts(model), rubrics.max_tokens),))
        case "pairwise_judging" if comparing := recipe.pairs.comparisons:
            number = of_run.prompts(model) * math.perm(recipe.sampling.candidates, 2)
            return Work((Asked("comparisons", number, comparing.max_tokens),), bound=True)
        case "meta_judging" if comparing := recipe.pairs.meta_judge:
            number = of_run.prompts(model) * math.perm(recipe.judging.samples, 2)
            return Work((Asked("comparisons of judgements", number, comparing.max_tokens),), bound=True)
        case "evaluation":
            return _evaluation(of_run)
        case "annotation":
            return _annotation(of_run, against=model != "m0")
        case "mt_bench_answers" | "mt_bench" if settings := recipe.mt_bench:
            what, asked = ("answers", settings.answers) if kind != "mt_bench" else ("ratings", settings.grading)
            return Work((Asked(what, MT_BENCH_QUESTIONS * TURNS, asked.max_tokens),))
        case "benchmarks":
            return Work(uncounted="questions of the lm-eval harness")
    return Work()


@dataclass(frozen=True)
class RunCounts:
    """What the stages of a run have kept, or would by its recipe."""

    recipe: Recipe
    counts: Mapping[str, Counts]

    def kept(self, stage: str, what: str) -> int | None:
        """None where the stage is not made yet."""
        return self.counts[stage].kept.get(what, 0) if stage in self.counts else None

    def prompts(self, model: str) -> int:
        made = self.kept(f"{model}/prompts", "prompts")
        return self.recipe.prompts.count if made is None else made

    def seeds(self, what: str, prompts: int) -> int:
        """Of the seed data; their replies are as many as OpenAssistant's prompts have where they are not read yet."""
        made = self.kept("seed-data", what)
        if made is not None:
            return made
        return round(prompts * EXAMPLES_PER_EFT_PROMPT) if what.endswith("replies") else prompts

    def of_set(self, what: str) -> int | None:
        """Instructions or questions: 0 where the recipe has none, None where it does not say how many."""
        settings = self.recipe.instructions if what == "instructions" else self.recipe.evaluation.exact_answers
        if not settings:
            return 0
        made = self.kept(what, what)
        if made is None and getattr(settings, "reference", "").startswith(ALPACA_EVAL):
            made = min(settings.count or ALPACA_EVAL_ITEMS, ALPACA_EVAL_ITEMS)
        return settings.count if made is None else made


def _sft(run: RunCounts, with_eft: bool) -> Work:
    recipe = run.recipe
    examples, bound = run.seeds("ift", recipe.data.ift), False
    if with_eft:
        made = run.kept("eft", "examples")
        replies = run.seeds("eft replies", recipe.data.eft_prompts or 0)
        eft = max(recipe.eft.min_examples, recipe.eft.max_examples or replies) if made is None else made
        examples, bound = examples + round(eft * recipe.sft.eft_weight), made is None
    trained = Training("", "sft", recipe.sft, examples, 0, 1)
    return Work(steps=trained.steps, examples=trained.seen, bound=bound)


def _dpo(run: RunCounts, before: str) -> Work:
    settings, made = run.recipe.dpo, run.kept(f"{before}/pairs", "pairs")
    pairs = run.prompts(before) if made is None else made + (run.kept(f"{before}/pairs", "pairs of judgements") or 0)
    wanted = max(math.ceil(settings.held_out * pairs), settings.min_held_out) if settings.held_out else 0
    trained = Training("", "dpo", settings, pairs - min(wanted, pairs // 2), 0, 2)
    bound = made is None or settings.early_stop is not None
    return Work(steps=trained.steps, examples=trained.seen, bound=bound)


def _eft(run: RunCounts) -> Work:
    settings = run.recipe.eft
    if settings.source != "model":
        return Work()
    if "seed-data" not in run.counts and run.recipe.data.eft_prompts is None:
        return Work(bound=True, uncounted="prompts for EFT")
    replies = run.seeds("eft replies", run.recipe.data.eft_prompts or 0)
    return Work((Asked("judgements", replies * settings.samples, settings.max_tokens),), bound=True)


def _evaluation(run: RunCounts) -> Work:
    settings, recipe = run.recipe.evaluation, run.recipe
    held_out = run.seeds("eval", recipe.data.eval_prompts)
    instructions, questions = run.of_set("instructions"), run.of_set("questions")
    replies = run.seeds("eval replies", recipe.data.eval_prompts)
    asked = [
        Asked("answers", held_out + (instructions or 0), settings.answers.max_tokens),
        Asked("judgements", replies * settings.judging.samples, settings.judging.max_tokens),
    ]
    if settings.exact_answers and questions:
        number = questions * (settings.exact_answers.samples + 1)
        asked.append(Asked("answers to questions", number, settings.answers.max_tokens))
    unknown = {"instructions": instructions, "questions": questions}
    uncounted = ", ".join(what for what, number in unknown.items() if number is None)
    return Work(tuple(asked), bound="seed-data" not in run.counts, uncounted=uncounted)


def _annotation(run: RunCounts, against: bool) -> Work:
    settings, instructions = run.recipe.annotation, run.of_set("instructions")
    asked = [Asked("preferences", instructions, 1)] if instructions else []
    if against and settings.head_to_head:
        held_out = run.seeds("eval", run.recipe.data.eval_prompts)
        asked.append(Asked("comparisons", 2 * held_out, settings.comparison_max_tokens))  # in both orders
    return Work(tuple(asked), bound=True, uncounted="" if instructions is not None else "instructions")
