from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from components.serving.settings import Generation


class PromptsSettings(Generation):
    """Few-shot self-instruct (Yuan et al. 2024, section 3.1.3: 8 shots, T = 0.6, top-p = 0.9), or prompts of a file."""

    # A file counts by its digest.
    non_key_fields: ClassVar[frozenset[str]] = Generation.non_key_fields | {"file"}

    source: Literal["base", "policy", "file"] = Field(
        "base",
        description="written by a fixed writer (the recipe's `writer`, else M0), by Mt itself, or taken from a file",
    )
    file: str | None = Field(None, description="JSON Lines with a `prompt` each, for source: file")
    count: int = Field(1000, ge=1, description="new prompts to accept in a round")
    seed_shots: int = Field(6, ge=1, description="demonstrations from the IFT prompts, or EFT's")
    generated_shots: int = Field(2, ge=0, description="demonstrations from prompts generated earlier")
    wave: int = Field(64, ge=1, description="prompts written between two updates of the demonstrations")
    max_attempts_per_prompt: int = Field(20, ge=1, description="gives up after count times this many attempts")
    novelty: float = Field(0.7, gt=0, le=1, description="highest ROUGE-L F with any seed or accepted prompt")
    temperature: float = Field(0.6, ge=0)
    max_tokens: int = Field(256, ge=1)

    @model_validator(mode="after")
    def _file_fits_source(self) -> PromptsSettings:
        if (self.source == "file") != (self.file is not None):
            raise ValueError("`file` is to be given with `source: file`, and only then")
        return self
