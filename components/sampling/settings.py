from __future__ import annotations

from typing import Literal

from pydantic import Field

from components.serving.settings import Generation


class SamplingSettings(Generation):
    """N candidates a prompt (Yuan et al. 2024, section 3.1.3: N = 4, T = 0.7, top-p = 0.9)."""

    candidates: int = Field(4, ge=2, description="N, candidates of each prompt")
    reasoning: Literal["strip", "keep"] = Field(
        "strip",
        exclude_if=lambda reasoning: reasoning == "strip",
        description="of a model that thinks first, what DPO learns: strip: the answer alone; keep: its thought, too",
    )
