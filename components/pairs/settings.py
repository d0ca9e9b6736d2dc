from __future__ import annotations

from typing import Annotated

from pydantic import Field

from components.core.settings import Settings

Rho = Annotated[float, Field(ge=0, le=0.5)]


class PairsSettings(Settings):
    """How judged candidates become preference pairs (Yuan et al. 2024, section 2.3)."""

    length_control: tuple[Rho, ...] = Field(
        (0.0,), min_length=1, description="rho of each round, the last one for all later; 0 is the paper"
    )
    min_gap: float = Field(
        0.0, ge=0, allow_inf_nan=False, description="least difference of chosen and rejected score; 0 is the paper"
    )
    min_pairs: int = Field(1, ge=1, description="fewer pairs than this stop the run")
    shuffle_scores: bool = Field(
        False, description="control experiment: scores are dealt out at random among all candidates of the round"
    )
    seed: int = Field(0, description="of shuffle_scores, and of the choice among equal scores")

    def of_round(self, number: int) -> PairsSettings:
        """The settings of one round (counted from 1): another round's rho does not concern it."""
        rho = self.length_control[min(number, len(self.length_control)) - 1]
        return self.model_copy(update={"length_control": (rho,)})
