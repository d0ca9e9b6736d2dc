"""The new prompts of the rounds: from a file, or written by a served model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from components.core.context import RunContext, open_step
from components.prompts.file import take_prompts
from components.prompts.prompts import write_prompts
from components.prompts.settings import PromptsSettings
from components.serving.engines.served_model import ServedModel


def make_all_prompts(before: dict[str, Any], rounds: int) -> list[str]:
    """The step for prompts that do not depend on the policy: a fixed writer is served once for all of them."""
    data = before["data"]
    with open_step(before["run"], "write prompts") as context:
        writer = ServedModel(context, "writer", data["writer"])
        prompts: list[str] = []
        for number in range(1, rounds + 1):
            prompts.append(make_round_prompts(context, number, data["seed_data"], prompts, writer))
        writer.stop()
        return prompts


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
