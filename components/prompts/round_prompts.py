"""The new prompts of one round: from a file, or written by a served model."""

from __future__ import annotations

from collections.abc import Sequence

from components.core.context import RunContext
from components.prompts.file import take_prompts
from components.prompts.prompts import write_prompts
from components.prompts.settings import PromptsSettings
from components.serving.served_model import ServedModel


def make_round_prompts(
    context: RunContext, number: int, seed_data: str, earlier: Sequence[str], writer: ServedModel
) -> str:
    """Returns the URI of round `number`'s prompts; `earlier` are those of the rounds before it."""
    settings, root = context.section("prompts", PromptsSettings), context.store
    if settings.source == "file":
        return context.make(f"m{number}/prompts", lambda: take_prompts(root, settings, earlier))
    return context.make(
        f"m{number}/prompts", lambda: write_prompts(root, settings, writer.model, seed_data, earlier, writer)
    )
