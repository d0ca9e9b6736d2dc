from __future__ import annotations

from pydantic import Field

from components.judging.prompt import built_in_judge_prompt
from components.serving.settings import Generation


class JudgingSettings(Generation):
    """K judgements a candidate (Yuan et al. 2024, section 2.2: K = 3, averaged to reduce variance)."""

    samples: int = Field(3, ge=1, description="K, judgements of each candidate")
    prompt: str = Field(default_factory=lambda: built_in_judge_prompt().template, description="the judge prompt's text")
