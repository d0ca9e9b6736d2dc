"""Human seed data: IFT examples and prompts for EFT from OpenAssistant (Yuan et al. 2024, section 3.1.1)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from components.core.errors import UserError
from components.core.progress import warn
from components.core.records import Counts, Manifest
from components.core.sources import Source, fetch
from components.core.stage import Stage, parent
from components.seed_data.contamination import read_evaluation_texts
from components.seed_data.messages import Message, read_messages
from components.seed_data.settings import SeedDataSettings
from components.seed_data.splits import Splits, split
from components.seed_data.turns import Turns, read_turns

BUILT_IN = Path(__file__).with_name("builtin")


def make_seed_data(root: str, settings: SeedDataSettings, evaluation_texts: str = "") -> Manifest:
    """The seed data stage: records "ift" (Example), "eft" and "eval" (SeedPrompt), "validation" (Prompt).

    `evaluation_texts` is the stage of the texts that models are measured with: what comes too close to one of them, or
    to a prompt that is held out here, is not trained on. Without it nothing is compared.

    Splits that come out smaller than asked for are warned about. Raises UserError when the data cannot be read or a
    split is empty.
    """
    with ExitStack() as stack:
        sources = _fetch(settings, stack)
        inputs = {role: source.parent() for role, source in sources.items()}
        inputs |= {"evaluation_texts": parent(evaluation_texts)} if evaluation_texts else {}
        stage = Stage(root, "seed_data", settings, inputs)
        if stage.manifest:
            return stage.manifest
        turns, splits = _select(sources.values(), settings, evaluation_texts)
    if problem := _too_few(sources["messages"].name, turns, splits, settings):
        raise problem
    if short := _short(splits, settings):
        warn(f"seed data: fewer prompts than asked for: {'; '.join(short)}")
    requested = {f"{name}_asked": size for name, size in _requested(settings).items()}
    return stage.publish(
        _counts(turns, splits),
        {"ift": splits.ift, "eft": splits.eft, "eval": splits.eval, "validation": splits.validation},
        metrics={"messages": turns.read, "usable_prompts": len(turns.prompts)} | requested,
    )


@dataclass(frozen=True)
class Description:
    """What the stage would make: `counts.kept` holds the splits' sizes, 0 included, `requested` those that the recipe
    asks for; `problem` is the error with which a run would end here."""

    counts: Counts
    requested: dict[str, int]
    short: list[str]
    problem: UserError | None


def describe(settings: SeedDataSettings) -> Description:
    """What the stage would make, without writing anything. Raises UserError where the data cannot be read."""
    with ExitStack() as stack:
        sources = _fetch(settings, stack)
        turns, splits = _select(sources.values(), settings)
        problem = _too_few(sources["messages"].name, turns, splits, settings)
    requested = _requested(settings) | {"eft": settings.eft_prompts or 0}
    return Description(_counts(turns, splits), requested, _short(splits, settings), problem)


def _fetch(settings: SeedDataSettings, stack: ExitStack) -> dict[str, Source]:
    """The data files by their role among the stage's inputs, there until the stack is closed."""
    names = {"messages": settings.messages, "demonstrations": settings.demonstrations}
    return {role: stack.enter_context(fetch(name, BUILT_IN)) for role, name in names.items() if name}


def _select(sources: Iterable[Source], settings: SeedDataSettings, evaluation_texts: str = "") -> tuple[Turns, Splits]:
    turns = read_turns(_messages(sources, settings.language), settings.language, settings.turns)
    evaluation = read_evaluation_texts(evaluation_texts) if evaluation_texts else None
    return turns, split(turns.prompts, settings, evaluation, turns.conversations)


def _messages(sources: Iterable[Source], language: str) -> Iterator[Message]:
    for source in sources:
        empty = True
        for message in read_messages(source.path, source.name, language):
            empty = False
            yield message
        if empty:
            raise UserError(f"{source.name} holds no messages", "Check that it is the right file and that it is whole.")


def _counts(turns: Turns, splits: Splits) -> Counts:
    """Each message once: an IFT example is two, another kept prompt one, and "replies" those of EFT and evaluation."""
    replies = {
        "eft replies": sum(len(prompt.replies) for prompt in splits.eft),
        "eval replies": sum(len(prompt.replies) for prompt in splits.eval),
    }
    systems = {"system messages": turns.systems} if turns.systems else {}
    return Counts(kept=splits.sizes() | replies | systems, dropped=dict((turns.dropped + splits.dropped).most_common()))


def _requested(settings: SeedDataSettings) -> dict[str, int]:
    return {
        "ift": settings.ift,
        "eft": settings.eft_prompts or 1,
        "eval": settings.eval_prompts,
        "validation": settings.validation_prompts,
    }


def _short(splits: Splits, settings: SeedDataSettings) -> list[str]:
    """Splits that come out smaller than asked for, e.g. "16 of 3,200 for ift"."""
    sizes = Counter(splits.sizes())
    return [
        f"{sizes[name]:,} of {size:,} for {name}" for name, size in _requested(settings).items() if sizes[name] < size
    ]


def _too_few(file: str, turns: Turns, splits: Splits, settings: SeedDataSettings) -> UserError | None:
    """Why nothing can be trained on, or measured with, these data: a split is empty."""
    sizes = Counter(splits.sizes())
    if all(sizes[name] or not size for name, size in _requested(settings).items()):
        return None
    dropped = turns.dropped + splits.dropped
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in dropped.most_common(3))
    return UserError(
        f"{file} gives {len(turns.prompts):,} usable prompts out of {turns.read:,} messages, and with them "
        f"{'; '.join(_short(splits, settings))}" + f" (most messages dropped: {reasons})" * bool(reasons),
        _remedy(turns, settings),
    )


def _remedy(turns: Turns, settings: SeedDataSettings) -> str:
    ranked = sum(len(prompt.replies) >= settings.min_replies for prompt in turns.prompts)
    if ranked < 2:
        return (
            f"{ranked} prompts in {settings.language!r} have {settings.min_replies} ranked replies: use a file with "
            "human ranks (OpenAssistant's ready trees, or prompt, chosen and rejected) as data.messages and this one "
            "as data.demonstrations, or change data.language or data.min_replies."
        )
    if settings.eft_prompts is None:
        return (
            f"{ranked} prompts have {settings.min_replies} or more ranked replies: lower data.ift (now {settings.ift}) "
            f"or data.eval_prompts (now {settings.eval_prompts}), "
            "or give data.eft_prompts a number, which is served first."
        )
    return (
        f"{ranked} prompts have {settings.min_replies} or more ranked replies: lower data.eval_prompts (now "
        f"{settings.eval_prompts}) and data.eft_prompts (now {settings.eft_prompts}), which are served first, so "
        "that some are left for the others, or use a larger file."
    )
