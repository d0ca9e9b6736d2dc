"""The step that makes the EFT examples: judge prompts with the judgements that M1 learns to write."""

from __future__ import annotations

from typing import Any

from components.core.context import open_step
from components.eft.eft import make_eft
from components.eft.settings import EftSettings
from components.judging.settings import JudgingSettings
from components.serving.engines.served_model import ServedModel


def make_examples(before: dict[str, Any], model: str) -> str:
    """Returns the stage's URI. The SFT baseline `model` writes the judgements where the recipe has a model do that."""
    with open_step(before["run"], "write EFT examples") as context:
        settings, seeds = context.section("eft", EftSettings), before["data"]["seed_data"]
        judge_prompt = context.section("judging", JudgingSettings).judge_prompt()
        by_model = (ServedModel(context, "sft", model), model) if settings.source == "model" else ()
        return context.make("eft", lambda: make_eft(context.store, settings, seeds, judge_prompt, *by_model))
