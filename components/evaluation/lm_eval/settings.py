from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from components.core.settings import Settings
from components.serving.settings import DEFAULT_ROOM, ReasoningTokens


class BenchmarksSettings(Settings):
    """The alignment tax, by EleutherAI's lm-eval harness against the served model (Yuan et al. 2024, table 4)."""

    non_key_fields: ClassVar[frozenset[str]] = frozenset({"concurrency"})

    tasks: list[str] = Field(
        default=["arc_challenge_chat", "gsm8k", "mmlu_generative", "nq_open"],
        min_length=1,
        description="the harness's names; with api: chat only tasks that generate (hellaswag needs api: completions)",
    )
    api: Literal["chat", "completions"] = Field(
        "chat", description="completions scores given texts too: /v1/completions with echo and logprobs, as vLLM has it"
    )
    few_shot: int | None = Field(None, ge=0, description="demonstrations; null: what each task says")
    limit: int | None = Field(None, ge=1, description="only the first so many questions of each task; null: all")
    include: str = Field("", description="a folder with task files of one's own")
    max_tokens: int = Field(512, ge=1, description="new tokens where the task names no limit")
    reasoning_tokens: ReasoningTokens = DEFAULT_ROOM
    concurrency: int = Field(64, ge=1, description="requests in flight at once")
    seed: int = Field(0, description="of the harness's few-shot examples")
