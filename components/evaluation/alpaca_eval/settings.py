from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from components.core.settings import Settings
from components.serving.client import Sampling
from components.serving.settings import DEFAULT_ROOM, ReasoningTokens


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


class AnnotationSettings(Settings):
    """How the annotator compares answers: with reference outputs (AlpacaEval), and with those of the model before."""

    non_key_fields: ClassVar[frozenset[str]] = frozenset({"concurrency", "keep_served"})

    form: Literal["auto", "weighted", "plain"] = Field(
        "auto", description="weighted takes the probabilities of the annotator's answer; auto: where it gives them"
    )
    template: str = Field(
        "",
        description="the annotator's, in AlpacaEval's form, as {file: alpaca_eval_clf.txt}; own: ours; empty: that of "
        "alpaca_eval where it is installed, else ours",
    )
    top_logprobs: int = Field(5, ge=2, le=20, description="AlpacaEval and TGI: 5")
    head_to_head: bool = Field(True, description="compare with the model before, too")
    comparison_temperature: float = Field(0.0, ge=0, description="of a head-to-head verdict; 0 is greedy")
    comparison_max_tokens: int = Field(256, ge=1, description="for a head-to-head verdict with its reasons")
    reasoning_tokens: ReasoningTokens = DEFAULT_ROOM
    concurrency: int = Field(
        1024, ge=1, description="most requests in flight at once; how many are follows what the servers can take"
    )
    keep_served: bool = Field(
        False,
        exclude_if=lambda kept: not kept,
        description="the embedded engine serves the run's own annotator from the first model to the end, and not anew "
        "for each: faster, where there is room for it beside a training",
    )
    seed: int = Field(0, description="of its draws; unset: the recipe's seed")

    def preference_sampling(self) -> Sampling:
        """One token: the identifier of the better output."""
        logprobs = 0 if self.form == "plain" else self.top_logprobs
        return Sampling(0.0, 1.0, 1, top_logprobs=logprobs, reasoning_tokens=self.reasoning_tokens)

    def comparison_sampling(self) -> Sampling:
        tokens, room = self.comparison_max_tokens, self.reasoning_tokens
        return Sampling(self.comparison_temperature, 1.0, tokens, reasoning_tokens=room)
