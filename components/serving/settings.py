"""How completions are drawn, and how models are served."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from components.base_model.settings import TemplateArguments
from components.core.settings import Settings
from components.kubernetes.settings import PodSettings
from components.serving.client import Sampling

DEFAULT_ROOM = 4096
# Not in a key as it is by default: it only gives answers where there were none.
ReasoningTokens = Annotated[
    int,
    Field(
        ge=0,
        exclude_if=lambda tokens: tokens == DEFAULT_ROOM,
        description="more tokens for an answer that was cut off because the model thinks first; 0: none",
    ),
]


class Generation(Settings):
    """What every stage that asks a model for text has in common; a stage's own section adds to it."""

    non_key_fields: ClassVar[frozenset[str]] = frozenset({"concurrency"})

    temperature: float = Field(0.7, ge=0, description="0 takes the likeliest token each time")
    top_p: float = Field(0.9, gt=0, le=1, description="the likeliest tokens of this much probability are drawn from")
    max_tokens: int = Field(512, ge=1, description="of an answer; a longer one is cut off and counted")
    reasoning_tokens: ReasoningTokens = DEFAULT_ROOM
    concurrency: int = Field(
        1024, ge=1, description="most requests in flight at once; how many are follows what the servers can take"
    )
    seed: int = Field(0, description="of its draws; unset: the recipe's seed")

    def sampling(self, stop: tuple[str, ...] = ()) -> Sampling:
        return Sampling(self.temperature, self.top_p, self.max_tokens, stop, reasoning_tokens=self.reasoning_tokens)


class ServingSettings(Settings):
    """Limits of the server that a run starts for each model, and how those are asked that are there already."""

    max_total_tokens: int = Field(4096, ge=16, description="prompt and new tokens of one request")
    max_batch: int = Field(64, ge=1, description="requests decoded together by the embedded engine")
    dtype: Literal["auto", "float32", "bfloat16", "float64"] = Field(
        "auto", description="auto is bf16 on a GPU and fp32 on a CPU; in float64 texts do not depend on batching at all"
    )
    judge_model: str = Field("", description="the judge's name at --judge-endpoint; empty: the only one there")
    annotator_model: str = Field("", description="the annotator's at --annotator-endpoint; empty: the only one there")
    judge_template_kwargs: TemplateArguments = Field(
        default_factory=dict,
        exclude_if=lambda arguments: not arguments,
        description="chat_template_kwargs of each request to --judge-endpoint; Qwen3: enable_thinking: false",
    )
    annotator_template_kwargs: TemplateArguments = Field(
        default_factory=dict,
        exclude_if=lambda arguments: not arguments,
        description="the same to --annotator-endpoint",
    )
    patience: float = Field(
        900, gt=0, description="seconds without any answer after which a busy endpoint is given up: Retry-After counts"
    )
    start_timeout: int = Field(1800, ge=1, description="seconds that a model may take to be fetched and loaded")
    schedule_timeout: int = Field(
        60, ge=0, description="seconds that a pod may find no node, unless the cluster says that it adds one"
    )
    command: str = Field(
        "",
        description="starts the server of --engine command; {model}, {port}, {name}, {max_total_tokens} are filled in",
    )
    pod: PodSettings = Field(default_factory=PodSettings, description="one replica on a cluster; its GPUs are shards")
    replicas: int = Field(1, ge=1, description="servers of each model, on a cluster")
    adapter_rank: int = Field(
        0,
        ge=0,
        le=512,
        description="vLLM on a cluster: models trained by LoRA come as adapters, of this rank at most together, to one "
        "server of what they were trained from, which stays until the run ends; 0: each model has a server of its own",
    )
    quantize: str | None = Field(
        None,
        description="weights as the engine names it: int8 (embedded, transformers; CPUs), fp8 ... (vllm, tgi); as with "
        "dtype, finished texts are reused",
    )
    arguments: list[str] = Field(default_factory=list, description="more of the engine's own launcher arguments")
