from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from components.core.errors import UserError
from components.serving.settings import Generation


class EftSettings(Generation):
    """Where the judge's first training targets come from.

    The paper samples them from the SFT baseline and keeps those that agree with the human ranks (Yuan et al. 2024,
    section 3.1.1): 1,630 examples are left. How often it samples and how it caps the score classes is not published.
    """

    # `file` counts by its digest; `min_examples` only decides whether the stage succeeds.
    non_key_fields: ClassVar[frozenset[str]] = Generation.non_key_fields | {"file", "min_examples"}

    source: Literal["model", "ranks", "file"] = Field(
        "model", description="judgements of the SFT baseline; made up from the human ranks; or a file's"
    )
    file: str | None = Field(None, description="JSON Lines of instruction, response and judgement, for source: file")
    samples: int = Field(
        3,
        ge=1,
        description="most tries for source: model, a judgement of each reply in each, until one of each reply's can "
        "be taken so that their scores are in human order",
    )
    max_class_share: float = Field(0.4, gt=0, le=1, description="largest share of one score among the examples")
    max_examples: int | None = Field(None, ge=1, description="no more than this are kept; null: all (the paper: 1630)")
    min_examples: int = Field(50, ge=1, description="fewer examples than this end the run")

    @model_validator(mode="after")
    def _settings_fit_together(self) -> EftSettings:
        if (self.source == "file") != (self.file is not None):
            raise ValueError("`file` is to be given with `source: file`, and only then")
        if self.max_examples is not None and self.max_examples < self.min_examples:
            raise ValueError(f"max_examples {self.max_examples} is less than min_examples {self.min_examples}")
        return self


def require_eft_replies(settings: EftSettings, replies: int) -> None:
    """Raises UserError where the seed data's EFT replies are too few, before a model is trained to judge them."""
    if settings.source != "file" and replies < settings.min_examples:
        raise UserError(
            f"the prompts for EFT have {replies} ranked replies, eft.min_examples is {settings.min_examples}",
            "Give EFT more prompts (data.eft_prompts, a lower data.ift, a larger file), or lower eft.min_examples.",
        )
