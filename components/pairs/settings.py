from __future__ import annotations

from pydantic import Field

from components.settings import Settings


class PairsSettings(Settings):
    """How judged candidates become preference pairs (Yuan et al. 2024, section 2.3)."""

    length_control: float = Field(0.0, ge=0, le=0.5, description="rho; 0 is the paper's best against worst")
    min_pairs: int = Field(1, ge=1, description="fewer pairs than this stop the run")
