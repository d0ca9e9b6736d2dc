from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from components.core.settings import Settings


class InstructionsSettings(Settings):
    """An instruction set with reference outputs, both in AlpacaEval's JSON form.

    The 805 of AlpacaEval 2 with GPT-4 Turbo's outputs: `reference:
    tatsu-lab/alpaca_eval/alpaca_eval_gpt4_baseline.json`.
    """

    # The content counts, by its digest, and not the place from which it was read.
    non_key_fields: ClassVar[frozenset[str]] = frozenset({"reference", "instructions", "difficulty"})

    reference: str = Field(description="outputs to compare with: path, s3://bucket/key, builtin:demo, or hub file")
    instructions: str = Field("", description="the same set without outputs; empty: those of the reference")
    difficulty: str = Field(
        "", description="AlpacaEval's df_gamed.csv (length_controlled_v1) or instruction_difficulty.csv"
    )
    count: int | None = Field(None, ge=1, description="only the first so many; null: all")
