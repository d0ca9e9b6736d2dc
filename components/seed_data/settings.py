from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from components.core.settings import Settings


class SeedDataSettings(Settings):
    """Which human data starts the run, and how much of it (the sizes are those of Yuan et al. 2024, section 3.1.1)."""

    # The content counts, by its digest, and not the place from which it was read.
    non_key_fields: ClassVar[frozenset[str]] = frozenset({"messages", "demonstrations"})

    messages: str = Field(description="path, s3://bucket/key, builtin:demo, or hub data set owner/name[/path/in/repo]")
    demonstrations: str | None = Field(
        None, description="more prompts, with an answer each that nobody ranked, for IFT; a file as for messages"
    )
    language: str = Field("en", min_length=1, description="OpenAssistant's code of the language to keep")
    turns: Literal["first", "all"] = Field(
        "first",
        description="which user turns become prompts: each conversation's first (the paper), or all, each after what "
        "came before it",
    )
    ift: int = Field(3200, ge=0, description="prompts with their best reply; 0: M0 follows instructions, M1 = M0 + EFT")
    eft_prompts: int | None = Field(
        None,
        ge=1,
        description="prompts whose replies the judge learns to score, drawn before IFT's; null: all ranked ones in no "
        "other set",
    )
    eval_prompts: int = Field(190, ge=1, description="prompts held out to measure the judge")
    validation_prompts: int = Field(0, ge=0, description="prompts for dpo.early_stop (the paper: 253)")
    min_replies: int = Field(2, ge=2, description="ranked replies that a prompt needs for EFT and evaluation")
    seed: int = Field(17, description="of the split alone: the recipe's seed leaves it, so that two seeds compare")
