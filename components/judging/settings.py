from __future__ import annotations

from functools import partial
from typing import Annotated

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from components.core.regex import checked
from components.judging.parser import ScoreFormat
from components.judging.prompt import JudgePrompt, built_in_judge_prompt
from components.serving.settings import Generation


class JudgingSettings(Generation):
    """K judgements a candidate (Yuan et al. 2024, section 2.2: K = 3, averaged to reduce variance)."""

    samples: int = Field(3, ge=1, description="K, judgements of each candidate")
    prompt: str = Field(default_factory=lambda: built_in_judge_prompt().template, description="the judge prompt's text")
    pattern: Annotated[str, AfterValidator(partial(checked, group="score"))] = Field(
        "",
        description="regular expression with the group (?P<score>...), whose last match in the end of a judgement "
        'counts (2,000 characters; RE2: no lookaround, no references back); empty: the last "Score: n"',
    )
    lowest: float = Field(0.0, allow_inf_nan=False, description="lowest score")
    highest: float = Field(5.0, allow_inf_nan=False, validate_default=True, description="highest, perfect score")

    @field_validator("highest")
    @classmethod
    def _range(cls, highest: float, info: ValidationInfo) -> float:
        if highest <= info.data.get("lowest", highest - 1):
            raise ValueError(f"must be above lowest, {info.data['lowest']:g}")
        return highest

    def judge_prompt(self) -> JudgePrompt:
        """The prompt with the format of the score that it asks for; raises UserError where a slot is missing."""
        return JudgePrompt(self.prompt, ScoreFormat(self.pattern, self.lowest, self.highest))
