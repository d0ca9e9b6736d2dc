from __future__ import annotations

from pydantic import Field

from components.core.settings import Settings
from components.evaluation.exact_answers.settings import ExactAnswersSettings
from components.judging.settings import JudgingSettings
from components.serving.settings import Generation


class EvaluationSettings(Settings):
    """What every model is asked: answers to held-out prompts and instructions, judgements of human replies."""

    answers: Generation = Field(default_factory=Generation, description="one answer to each prompt and instruction")
    judging: JudgingSettings = Field(default_factory=JudgingSettings, description="judgements of the human replies")
    exact_answers: ExactAnswersSettings | None = Field(
        None, description="questions with reference answers; null: none are asked"
    )
