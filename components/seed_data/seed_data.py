"""Human seed data: IFT examples and prompts for EFT from OpenAssistant (Yuan et al. 2024, section 3.1.1)."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from components.core.errors import UserError
from components.core.progress import warn
from components.core.records import Counts, Manifest
from components.core.sources import Source, fetch
from components.core.stage import Stage, parent
from components.seed_data.contamination import read_evaluation_texts
from components.seed_data.messages import read_messages
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
    with fetch(settings.messages, BUILT_IN) as source:
        inputs = {"messages": source.parent()}
        inputs |= {"evaluation_texts": parent(evaluation_texts)} if evaluation_texts else {}
        stage = Stage(root, "seed_data", settings, inputs)
        if stage.manifest:
            return stage.manifest
        turns, splits = _select(source, settings, evaluation_texts)
    _check_sizes(source.name, turns, splits, settings)
    requested = {f"{name}_asked": size for name, size in _requested(settings).items()}
    return stage.publish(
        _counts(turns, splits),
        {"ift": splits.ift, "eft": splits.eft, "eval": splits.eval, "validation": splits.validation},
        metrics={"messages": turns.read, "usable_prompts": len(turns.prompts)} | requested,
    )


def describe(messages: str, settings: SeedDataSettings) -> Counts:
    """What the stage would make of `messages`, without writing anything; `kept` holds the splits' sizes, 0 included."""
    with fetch(messages, BUILT_IN) as source:
        return _counts(*_select(source, settings))


def _select(source: Source, settings: SeedDataSettings, evaluation_texts: str = "") -> tuple[Turns, Splits]:
    turns = read_turns(read_messages(source.path, source.name), settings.language, settings.turns)
    if not turns.read:
        raise UserError(f"{source.name} holds no messages", "Check that it is the right file and that it is whole.")
    evaluation = read_evaluation_texts(evaluation_texts) if evaluation_texts else None
    return turns, split(turns.prompts, settings, evaluation, turns.conversations)


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


def _check_sizes(file: str, turns: Turns, splits: Splits, settings: SeedDataSettings) -> None:
    """Warns where a split is smaller than asked for; raises UserError where one is empty."""
    sizes, requested = Counter(splits.sizes()), _requested(settings)
    short = [f"{sizes[name]} of {size} for {name}" for name, size in requested.items() if sizes[name] < size]
    if any(size and not sizes[name] for name, size in requested.items()):
        reasons = ", ".join(f"{count} {reason}" for reason, count in turns.dropped.most_common(3)) or "none"
        raise UserError(
            f"{file} gives {len(turns.prompts)} usable prompts out of {turns.read} messages, and with them "
            f"{'; '.join(short)} (most messages dropped: {reasons})",
            _remedy(turns, settings),
        )
    if short:
        warn(f"seed data: fewer prompts than asked for: {'; '.join(short)}")


def _remedy(turns: Turns, settings: SeedDataSettings) -> str:
    ranked = sum(len(prompt.replies) >= settings.min_replies for prompt in turns.prompts)
    if ranked < 2:
        return (
            f"{ranked} prompts in {settings.language!r} have {settings.min_replies} ranked replies: use a file with "
            "human ranks (such as OpenAssistant's ready trees), or change data.language or data.min_replies."
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
