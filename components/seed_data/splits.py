"""Disjoint splits of the seed prompts: EFT evaluation, EFT training, IFT, validation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from components.core.hashing import content_hash
from components.core.records import Example, Prompt, SeedPrompt
from components.seed_data.contamination import HELD_OUT, TOO_CLOSE, EvaluationTexts
from components.seed_data.settings import SeedDataSettings
from components.seed_data.turns import PROMPT_DROPPED


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
    prompts: Sequence[SeedPrompt],
    settings: SeedDataSettings,
    evaluation: EvaluationTexts | None = None,
    conversations: Mapping[str, str] | None = None,
) -> Splits:
    """Draw evaluation and EFT from the prompts with enough ranked replies, then IFT from all others with a best reply,
    then validation from what is left, first from prompts that EFT cannot use. Without a number of its own EFT comes
    last and takes all that it can use. What comes too close to the evaluation texts, or to the prompts that are
    held out (which join them), is in no training set.

    Prompts are drawn in the order of a hash of seed and id: which prompts come first does not depend on the file's
    order, nor on the other prompts. Turns of one conversation (`conversations`: the id of its first turn, by each
    prompt's id) are drawn one after the other, and no conversation is in two sets.
    """

    def enough_replies(prompt: SeedPrompt) -> bool:
        return len(prompt.replies) >= settings.min_replies

    pool = _Pool(prompts, settings.seed, conversations or {})
    held_out = pool.take(settings.eval_prompts, enough_replies)
    pool.drop_contamination(held_out, evaluation)
    eft = pool.take(settings.eft_prompts or 0, enough_replies)
    ift = pool.take(settings.ift, lambda prompt: prompt.replies[0].rank == 0)
    pool.left.sort(key=enough_replies)
    validation = pool.take(settings.validation_prompts)
    if settings.eft_prompts is None:
        eft = pool.take(len(pool.left), enough_replies)
    dropped = Counter(
        {
            "reply: IFT takes the best one alone": sum(len(prompt.replies) - 1 for prompt in ift),
            "reply: validation takes prompts alone": sum(len(prompt.replies) for prompt in validation),
        }
    )
    return Splits(
        ift=[Example(id=p.id, kind="ift", prompt=p.text, completion=p.replies[0].text, history=p.history) for p in ift],
        eft=eft,
        eval=held_out,
        validation=[Prompt(id=p.id, text=p.text, history=p.history) for p in validation],
        dropped=dropped + pool.dropped + _unused(pool.left, settings.min_replies),
    )


class _Pool:
    """Prompts that are in no set yet, in the order in which they are drawn; `dropped` are the messages of others."""

    def __init__(self, prompts: Sequence[SeedPrompt], seed: int, conversations: Mapping[str, str]) -> None:
        self._conversation = {prompt.id: conversations.get(prompt.id, prompt.id) for prompt in prompts}
        self.left = sorted(
            prompts,
            key=lambda p: (
                content_hash([seed, self._conversation[p.id]]),
                len(p.history),
                content_hash([seed, p.id]),
            ),
        )
        self.dropped: Counter[str] = Counter()

    def take(self, number: int, fits: Callable[[SeedPrompt], bool] = lambda _: True) -> list[SeedPrompt]:
        """The first so many that fit. What else there is of their conversations is dropped, so that no other set gets
        it.
        """
        taken = [prompt for prompt in self.left if fits(prompt)][:number]
        ids, conversations = {p.id for p in taken}, {self._conversation[p.id] for p in taken}
        others = [prompt for prompt in self.left if prompt.id not in ids]
        self.left = [prompt for prompt in others if self._conversation[prompt.id] not in conversations]
        for prompt in others:
            if self._conversation[prompt.id] in conversations:
                self._drop(prompt, "prompt: another turn of its conversation was drawn")
        return taken

    def drop_contamination(self, held_out: Sequence[SeedPrompt], evaluation: EvaluationTexts | None) -> None:
        """What is left may be trained on; what was dropped is counted by evaluation set."""
        if evaluation is None:
            return
        for prompt in held_out:
            evaluation.add(HELD_OUT, prompt.text)
        found = {prompt.id: evaluation.too_close(prompt.text, prompt.history) for prompt in self.left}
        for prompt in self.left:
            if name := found[prompt.id]:
                self._drop(prompt, f"prompt: {TOO_CLOSE}{name}")
        self.left = [prompt for prompt in self.left if not found[prompt.id]]

    def _drop(self, prompt: SeedPrompt, reason: str) -> None:
        self.dropped[reason] += 1
        self.dropped[PROMPT_DROPPED] += len(prompt.replies)


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
