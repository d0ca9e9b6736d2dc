"""The step in which Mt, or an external judge, judges Mt's candidates."""

from __future__ import annotations

from typing import Any

from components.core.context import open_step
from components.judging.judging import judge_candidates
from components.judging.settings import JudgingSettings
from components.serving.engines.served_model import ServedModel


def judge_model(name: str, before: dict[str, Any], model: str, candidates: str) -> str:
    """Returns the judgements' URI."""
    with open_step(before["run"], f"judge {name.upper()}") as context:
        settings, judge = context.section("judging", JudgingSettings), ServedModel(context, name, model)
        return context.make(
            f"{name}/judging",
            lambda: judge_candidates(context.store, settings, model, candidates, judge, context.judge_endpoint),
        )
