from __future__ import annotations

from pydantic import Field

from components.judging.settings import JudgingSettings
from components.serving.settings import Generation
from components.settings import Settings


class EvaluationSettings(Settings):
    """The first measurements of every model, on the held-out prompts of the seed data."""

    answers: Generation = Field(default_factory=Generation, description="one answer to each held-out prompt")
    judging: JudgingSettings = Field(default_factory=JudgingSettings, description="judgements of the human replies")
    comparison_max_tokens: int = Field(256, ge=1, description="for a head-to-head verdict with its reasons")
