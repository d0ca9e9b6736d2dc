"""Human seed data: IFT examples and prompts for EFT from OpenAssistant (Yuan et al. 2024, section 3.1.1)."""

from __future__ import annotations

from pathlib import Path

from components.core.errors import UserError
from components.core.progress import warn
from components.core.records import Counts, Manifest
from components.core.sources import Source, fetch
from components.core.stage import Stage
from components.seed_data.first_turns import FirstTurns, first_turns
from components.seed_data.messages import read_messages
from components.seed_data.settings import SeedDataSettings
from components.seed_data.splits import Splits, split

BUILT_IN = Path(__file__).with_name("builtin")


def make_seed_data(root: str, settings: SeedDataSettings) -> Manifest:
    """The seed data stage: records "ift" (Example), "eft" and "eval" (SeedPrompt), "validation" (Prompt).

    Splits that come out smaller than asked for are warned about. Raises UserError when the data cannot be read or a
    split is empty.
    """
    with fetch(settings.messages, BUILT_IN) as source:
        stage = Stage(root, "seed_data", settings, {"messages": source.parent()})
        if stage.manifest:
            return stage.manifest
        found, splits = _select(source, settings)
    _check(source.name, found, splits, settings)
    asked = {f"{name}_asked": size for name, size in _asked(settings).items()}
    return stage.publish(
        _counts(found, splits),
        {"ift": splits.ift, "eft": splits.eft, "eval": splits.eval, "validation": splits.validation},
        metrics={"messages": found.read, "usable_prompts": len(found.prompts)} | asked,
    )


def describe(messages: str, settings: SeedDataSettings) -> Counts:
    """What the stage would make of `messages`, without writing anything; `kept` holds the splits' sizes, 0 included."""
    with fetch(messages, BUILT_IN) as source:
        return _counts(*_select(source, settings))


def _select(source: Source, settings: SeedDataSettings) -> tuple[FirstTurns, Splits]:
    found = first_turns(read_messages(source.path, source.name), settings.language)
    if not found.read:
        raise UserError(f"{source.name} holds no messages", "Check that it is the right file and that it is whole.")
    return found, split(found.prompts, settings)


def _counts(found: FirstTurns, splits: Splits) -> Counts:
    """Each message once: an IFT example is two, another kept prompt one, and "replies" those of EFT and evaluation."""
    replies = {
        "eft replies": sum(len(prompt.replies) for prompt in splits.eft),
        "eval replies": sum(len(prompt.replies) for prompt in splits.eval),
    }
    return Counts(kept=splits.sizes() | replies, dropped=dict((found.dropped + splits.dropped).most_common()))


def _asked(settings: SeedDataSettings) -> dict[str, int]:
    return {
        "ift": settings.ift,
        "eft": settings.eft_prompts,
        "eval": settings.eval_prompts,
        "validation": settings.validation_prompts,
    }


def _check(file: str, found: FirstTurns, splits: Splits, settings: SeedDataSettings) -> None:
    sizes = splits.sizes()
    asked = _asked(settings)
    short = [f"{sizes.get(name, 0)} of {asked[name]} for {name}" for name in asked if sizes.get(name, 0) < asked[name]]
    if any(asked[name] and not sizes.get(name) for name in asked):
        reasons = ", ".join(f"{count} {reason}" for reason, count in found.dropped.most_common(3)) or "none"
        raise UserError(
            f"{file} gives {len(found.prompts)} usable prompts out of {found.read} messages, and with them "
            f"{'; '.join(short)} (most messages dropped: {reasons})",
            _remedy(found, settings),
        )
    if short:
        warn(f"seed data: fewer prompts than asked for: {'; '.join(short)}")


def _remedy(found: FirstTurns, settings: SeedDataSettings) -> str:
    ranked = sum(len(prompt.replies) >= settings.min_replies for prompt in found.prompts)
    if ranked < 2:
        return (
            f"{ranked} prompts in {settings.language!r} have {settings.min_replies} ranked replies: use a file with "
            "human ranks (such as OpenAssistant's ready trees), or change seed_data.language or seed_data.min_replies."
        )
    return (
        f"{ranked} prompts have {settings.min_replies} or more ranked replies: lower seed_data.eval_prompts (now "
        f"{settings.eval_prompts}) and seed_data.eft_prompts (now {settings.eft_prompts}), which are served first, so "
        "that some are left for the others, or use a larger file."
    )
