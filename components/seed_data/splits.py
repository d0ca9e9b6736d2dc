"""Disjoint splits of the seed prompts: EFT evaluation, EFT training, IFT, validation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from components.core.hashing import content_hash
from components.core.records import Example, Prompt, SeedPrompt
from components.seed_data.contamination import HELD_OUT, TOO_CLOSE, EvaluationTexts
from components.seed_data.first_turns import PROMPT_DROPPED
from components.seed_data.settings import SeedDataSettings


@dataclass(frozen=True)
class Splits:
    """No prompt is in two of them. `dropped` counts the messages of the prompts in none, and IFT's unused replies."""

    ift: list[Example]
    eft: list[SeedPrompt]
    eval: list[SeedPrompt]
    validation: list[Prompt]
    dropped: Counter[str]

    def sizes(self) -> dict[str, int]:
        sizes = {"ift": len(self.ift), "eft": len(self.eft), "eval": len(self.eval)}
        return sizes | ({"validation": len(self.validation)} if self.validation else {})


def split(
    prompts: Sequence[SeedPrompt], settings: SeedDataSettings, evaluation: EvaluationTexts | None = None
) -> Splits:
    """Draw evaluation and EFT from the prompts with enough ranked replies, then IFT from all others with a best reply,
    then validation from what is left, first from prompts that EFT cannot use. Without a number of its own EFT comes
    last and takes all that it can use. What comes too close to the evaluation texts, or to the prompts that are
    held out (which join them), is in no training set.

    Prompts are drawn in the order of a hash of seed and id: which prompts come first does not depend on the file's
    order, nor on the other prompts.
    """
    order = sorted(prompts, key=lambda prompt: content_hash([settings.seed, prompt.id]))
    ranked = [prompt for prompt in order if len(prompt.replies) >= settings.min_replies]
    held_out = ranked[: settings.eval_prompts]
    order, contaminated = _without_contamination(order, held_out, evaluation)
    reserved = [prompt for prompt in order if len(prompt.replies) >= settings.min_replies][: settings.eft_prompts or 0]
    taken = {prompt.id for prompt in reserved}
    rest = [prompt for prompt in order if prompt.id not in taken]
    ift = [prompt for prompt in rest if prompt.replies[0].rank == 0][: settings.ift]
    taken = {prompt.id for prompt in ift}
    left = [prompt for prompt in rest if prompt.id not in taken]
    validation = sorted(left, key=lambda prompt: len(prompt.replies) >= settings.min_replies)
    validation = validation[: settings.validation_prompts]
    taken = {prompt.id for prompt in validation}
    left = [prompt for prompt in left if prompt.id not in taken]
    eft = reserved
    if settings.eft_prompts is None:
        eft = [prompt for prompt in left if len(prompt.replies) >= settings.min_replies]
        left = [prompt for prompt in left if len(prompt.replies) < settings.min_replies]
    dropped = Counter(
        {
            "reply: IFT takes the best one alone": sum(len(prompt.replies) - 1 for prompt in ift),
            "reply: validation takes prompts alone": sum(len(prompt.replies) for prompt in validation),
        }
    )
    return Splits(
        ift=[Example(id=p.id, kind="ift", prompt=p.text, completion=p.replies[0].text) for p in ift],
        eft=eft,
        eval=held_out,
        validation=[Prompt(id=p.id, text=p.text) for p in validation],
        dropped=dropped + contaminated + _unused(left, settings.min_replies),
    )


def _without_contamination(
    prompts: Sequence[SeedPrompt], held_out: Sequence[SeedPrompt], evaluation: EvaluationTexts | None
) -> tuple[list[SeedPrompt], Counter[str]]:
    """The prompts that may be trained on, and what was dropped by evaluation set."""
    taken = {prompt.id for prompt in held_out}
    others = [prompt for prompt in prompts if prompt.id not in taken]
    dropped: Counter[str] = Counter()
    if evaluation is None:
        return others, dropped
    for prompt in held_out:
        evaluation.add(HELD_OUT, prompt.text)
    fit = []
    for prompt in others:
        if name := evaluation.too_close(prompt.text):
            dropped[f"prompt: {TOO_CLOSE}{name}"] += 1
            dropped[PROMPT_DROPPED] += len(prompt.replies)
        else:
            fit.append(prompt)
    return fit, dropped


def _unused(prompts: Sequence[SeedPrompt], min_replies: int) -> Counter[str]:
    """Messages of the prompts that are in no split, by reason."""
    dropped: Counter[str] = Counter()
    for prompt in prompts:
        if prompt.replies[0].rank == 0:
            dropped["prompt: more than asked for"] += 1
        elif len(prompt.replies) < min_replies:
            dropped["prompt: no best reply for IFT, too few ranked ones for EFT"] += 1
        else:
            dropped["prompt: no best reply for IFT, more than asked for in EFT"] += 1
        dropped[PROMPT_DROPPED] += len(prompt.replies)
    return dropped
