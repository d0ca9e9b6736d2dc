from __future__ import annotations

from pydantic import Field

from components.training.settings import TrainingSettings


class DpoSettings(TrainingSettings):
    """Direct preference optimisation (Yuan et al. 2024, section 3.1.3: 1e-6 to 1e-7, beta 0.1, batch 16)."""

    learning_rate: float = Field(1e-6, gt=0)
    min_learning_rate: float = Field(1e-7, ge=0)
    micro_batch_size: int = Field(2, ge=1)
    beta: float = Field(0.1, gt=0)
    nll_weight: float = Field(0.0, ge=0, description="weight of the NLL of chosen answers (IRPO); 0 is the paper")
    ld_alpha: float | None = Field(None, ge=0, le=1, description="length-desensitised DPO; null is the paper")
