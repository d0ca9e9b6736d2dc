from __future__ import annotations

import difflib
from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from components.core.settings import Settings
from components.metrics.bootstrap import Resampling
from components.metrics.statistics import BENCHMARK, HUMAN, METRICS


class GatePolicy(Settings):
    """When a model is promoted, held back, or the run stopped. Metrics by name, thresholds in their own units.

    Every rule asks for proof: the whole confidence interval must lie beyond the threshold (docs/gate.md). Rules that
    stop a run stand beside the default ones unless they name the same metric; `improve` replaces the default.
    """

    improve: dict[str, float] = Field(
        default={"lc_win_rate": 0.0},
        description="promote only what is better than the champion by more than this, in all of these",
    )
    regress: dict[str, float] = Field(
        default={"lc_win_rate": 0.05, "pairwise_accuracy": 0.05, "parse_rate": 0.1},
        description="stop at a loss against the model before of more than this",
    )
    floors: dict[str, float] = Field(
        default={
            "parse_rate": 0.5,
            "pairwise_accuracy": 0.55,  # a judge at 0.5 is a coin
            "score_entropy": 0.5,
            "net_win": -0.1,
            "round_parse_rate": 0.5,
        },
        description="stop below this",
    )
    ceilings: dict[str, float] = Field(
        default={
            "score_tie_rate": 0.8,
            "score_length_correlation": 0.8,
            "round_score_tie_rate": 0.8,
            "round_score_length_correlation": 0.8,
        },
        description="stop above this",
    )
    demand: dict[str, float] = Field(
        default={},
        exclude_if=lambda rules: not rules,  # so that recipes without it keep the keys of their stages
        description="promote only where this is reached by proof; human_agreement and its like need srlm review",
    )
    sign_off: Literal["none", "required"] = Field(
        "none",
        exclude_if=lambda sign_off: sign_off == "none",
        description="required: a model that passes waits as candidate until somebody runs srlm promote",
    )
    longest_growth: float = Field(
        1.5, gt=1, description="stop when answers are this many times as long as the model before's, and no better"
    )
    baseline: Literal["best", "m0", "sft", "none"] = Field(
        "best", description="the first champion must not be proven worse than this; best: the better of M0 and SFT"
    )
    confidence: float = Field(0.95, gt=0.5, lt=1, description="of the two-sided intervals")
    resamples: int = Field(1000, ge=100, description="of the bootstrap that the intervals come from")
    min_items: int = Field(30, ge=2, description="fewer items prove nothing")
    seed: int = Field(0, description="of the resampling; unset: the recipe's seed")

    @field_validator("regress", "floors", "ceilings", mode="before")
    @classmethod
    def _beside_the_defaults(cls, rules: Any, info: ValidationInfo) -> Any:
        """Who raises one floor keeps the others."""
        return cls.model_fields[str(info.field_name)].default | rules if isinstance(rules, dict) else rules

    @field_validator("improve", "regress", "floors", "ceilings", "demand")
    @classmethod
    def _known(cls, rules: dict[str, float]) -> dict[str, float]:
        for name in rules:
            if name not in METRICS and not name.startswith(BENCHMARK):
                close = difflib.get_close_matches(name, METRICS, 1)
                hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(METRICS)}"
                raise ValueError(f"there is no metric {name}; {hint}")
        return rules

    @field_validator("regress")
    @classmethod
    def _margins(cls, rules: dict[str, float]) -> dict[str, float]:
        for name, margin in rules.items():
            if margin < 0:
                raise ValueError(f"the loss of {name} that is allowed is written without a sign")
        return rules

    def asks_people(self) -> bool:
        """Whether a rule rests on people's labels."""
        rules = (self.improve, self.regress, self.floors, self.ceilings, self.demand)
        return any(name.startswith(HUMAN) for named in rules for name in named)

    def resampling(self) -> Resampling:
        return Resampling(self.confidence, self.resamples, self.seed)


class GateSettings(GatePolicy):
    """The policy for the models of one name in the registry."""

    registered_name: str

    def of_first_model(self) -> GateSettings:
        """Those for a model that learnt from no judge: people's labels say nothing of its training data."""
        demand = {name: least for name, least in self.demand.items() if not name.startswith(HUMAN)}
        return self.model_copy(update={"demand": demand})
