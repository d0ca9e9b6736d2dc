from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from components.training.settings import TrainingSettings


class SftSettings(TrainingSettings):
    """Supervised fine-tuning (Yuan et al. 2024, section 3.1.3: 5.5e-6 to 1.1e-6, cosine, batch 16, dropout 0.1)."""

    # It decides what is trained beside M1, and nothing of M1.
    non_key_fields: ClassVar[frozenset[str]] = TrainingSettings.non_key_fields | {"baseline"}

    learning_rate: float = Field(5.5e-6, gt=0)
    min_learning_rate: float = Field(1.1e-6, ge=0)
    epochs: float = Field(1.0, gt=0)
    eft_weight: float = Field(
        1.0,
        gt=0,
        allow_inf_nan=False,
        description="how often M1 sees an EFT example for each time it sees an IFT one; 1: the paper",
    )
    baseline: bool = Field(
        True,
        exclude_if=lambda trained: trained,
        description="train the SFT baseline, too, on IFT alone: M1 is seen beside it, and where a model writes EFT "
        "examples it does; false: M0 is the baseline",
    )
