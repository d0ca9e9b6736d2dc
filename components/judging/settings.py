from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from components.core.regex import checked
from components.judging.parser import ScoreFormat
from components.judging.prompt import JudgePrompt, built_in_judge_prompt, with_slots
from components.serving.settings import Generation

RUBRIC_PROMPT = Path(__file__).with_name("rubric_prompt.txt").read_text()


class RubricSettings(Generation):
    """How the judge is asked for a rubric of a prompt: by default greedily."""

    temperature: float = Field(0.0, ge=0, description="of a rubric; 0 is greedy")
    max_tokens: int = Field(256, ge=1, description="of a rubric; a prompt whose rubric is cut off is judged without")
    prompt: Annotated[str, AfterValidator(partial(with_slots, slots=("instruction",)))] = Field(
        RUBRIC_PROMPT, description="with {instruction}; its answer is the rubric"
    )


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


class RoundJudgingSettings(JudgingSettings):
    """How a round's candidates are judged. Human replies and early stopping's answers have no rubrics."""

    rubrics: RubricSettings | None = Field(
        None,
        exclude_if=lambda rubrics: rubrics is None,
        description="the judge first writes down what a good response to a prompt does; null: the same words for all",
    )
