from __future__ import annotations

from pydantic import Field

from components.training.settings import TrainingSettings


class SftSettings(TrainingSettings):
    """Supervised fine-tuning (Yuan et al. 2024, section 3.1.3: 5.5e-6 to 1.1e-6, cosine, batch 16, dropout 0.1)."""

    learning_rate: float = Field(5.5e-6, gt=0)
    min_learning_rate: float = Field(1.1e-6, ge=0)
    epochs: float = Field(1.0, gt=0)
    eft_weight: float = Field(
        1.0,
        gt=0,
        allow_inf_nan=False,
        description="how often M1 sees an EFT example for each time it sees an IFT one; 1: the paper",
    )
