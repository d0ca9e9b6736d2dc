from __future__ import annotations

from typing import Literal

from pydantic import Field

from components.serving.settings import Generation


class PromptsSettings(Generation):
    """Few-shot self-instruct (Yuan et al. 2024, section 3.1.3: 8 shots, T = 0.6, top-p = 0.9)."""

    writer: Literal["base", "policy"] = Field("base", description="who writes: the recipe's base model, or Mt itself")
    count: int = Field(1000, ge=1, description="new prompts to accept in a round")
    seed_shots: int = Field(6, ge=1, description="demonstrations from the IFT prompts")
    generated_shots: int = Field(2, ge=0, description="demonstrations from prompts generated earlier")
    wave: int = Field(64, ge=1, description="prompts written between two updates of the demonstrations")
    max_attempts_per_prompt: int = Field(20, ge=1, description="gives up after count times this many attempts")
    novelty: float = Field(0.7, gt=0, le=1, description="highest ROUGE-L F with any seed or accepted prompt")
    temperature: float = Field(0.6, ge=0)
    max_tokens: int = Field(256, ge=1)
