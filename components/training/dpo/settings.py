from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from components.core.settings import Settings
from components.judging.settings import JudgingSettings
from components.serving.settings import Generation
from components.training.settings import TrainingSettings


class EarlyStopSettings(Settings):
    """Look at the policy while it trains (Yuan et al. 2024, section 3.1.3: every 200 steps, answers to 253 prompts).

    The paper's judge was another model; here it is the judge of the run: Mt, or the one at the judge's endpoint. By
    pairs nobody is asked: what is compared is DPO's own loss on the held-out pairs.
    """

    by: Literal["answers", "pairs"] = Field(
        "answers", description="judged answers to data.validation_prompts (the paper), or the loss on held-out pairs"
    )
    every: int = Field(200, ge=1, description="steps; a multiple of checkpoint_every")
    answers: Generation = Field(default_factory=Generation, description="one answer to each validation prompt")
    judging: JudgingSettings = Field(default_factory=JudgingSettings, description="judgements of these answers")

    def identity(self) -> dict[str, Any]:
        """Only what decides the content: by pairs nobody is asked."""
        return self._asked(super().identity())

    @model_serializer(mode="wrap")
    def _serialized(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Packages do not hold the texts of a judge that nobody asks (pipelines/graph/size.py)."""
        return self._asked(serialize(self))

    def _asked(self, values: dict[str, Any]) -> dict[str, Any]:
        unused = () if self.by == "answers" else ("answers", "judging")
        return {name: value for name, value in values.items() if name not in unused}


class ReferenceSettings(Settings):
    """What decides the reference's log-probabilities besides model and pairs.

    Not the beta, losses and learning rates of DPO, so that trainings that differ in these share them.
    """

    max_length: int = Field(description="as of dpo: longer pairs are dropped")
    ld_alpha: float | None = Field(description="as of dpo")
    passes: Literal["bf16", "fp32"] = Field(description="where dpo.precision is auto, what it comes to here")
    frozen: bool = Field(description="as of LoRA's weights: where passes are bf16, they are, too")


class DpoSettings(TrainingSettings):
    """Direct preference optimisation (Yuan et al. 2024, section 3.1.3: 1e-6 to 1e-7, beta 0.1, batch 16)."""

    learning_rate: float = Field(1e-6, gt=0)
    min_learning_rate: float = Field(1e-7, ge=0)
    beta: float = Field(0.1, gt=0, description="how strongly the policy is held to its reference")
    nll_weight: float = Field(0.0, ge=0, description="weight of the NLL of chosen answers (IRPO); 0 is the paper")
    label_smoothing: float = Field(
        0.0,
        ge=0,
        lt=0.5,
        exclude_if=lambda rate: not rate,
        description="share of the pairs that is taken to be the wrong way round; 0 is the paper",
    )
    loss: Literal["sigmoid", "robust"] = Field(
        "sigmoid",
        exclude_if=lambda loss: loss == "sigmoid",
        description="how label_smoothing counts: sigmoid hedges (conservative DPO), robust has no bias by such pairs",
    )
    self_consistency: bool = Field(
        False,
        exclude_if=lambda on: not on,
        description="from round 2 on only pairs are trained on whose chosen answer DPO's implicit reward prefers, too: "
        "that of Mt against M(t-1) (SCIR)",
    )
    ld_alpha: float | None = Field(None, ge=0, le=1, description="length-desensitised DPO; null is the paper")
    held_out: float = Field(
        0.05, ge=0, lt=1, description="share of the round's pairs that is watched and not trained on; 0 is the paper"
    )
    min_held_out: int = Field(16, ge=1, description="at least so many, but never more than half of the pairs")
    early_stop: EarlyStopSettings | None = Field(None, description="null trains to the end")

    @property
    def judged_answers(self) -> EarlyStopSettings | None:
        """How training stops early where it does so by judged answers; None where nobody is asked."""
        return self.early_stop if self.early_stop and self.early_stop.by == "answers" else None

    @model_validator(mode="after")
    def _robust_against_something(self) -> DpoSettings:
        if self.loss == "robust" and not self.label_smoothing:
            raise ValueError("loss robust needs the share of wrong pairs: set label_smoothing above 0, 0.1 say")
        return self

    @model_validator(mode="after")
    def _checkpoints_and_pairs_to_compare(self) -> DpoSettings:
        if self.early_stop and self.early_stop.by == "pairs" and not self.held_out:
            raise ValueError("early_stop.by pairs compares losses on held-out pairs: set held_out above 0, 0.05 say")
        if self.early_stop and self.early_stop.every % self.checkpoint_every:
            raise ValueError(
                f"early_stop.every {self.early_stop.every} must be a multiple of checkpoint_every "
                f"{self.checkpoint_every}: the checkpoint before is what training falls back to"
            )
        return self
