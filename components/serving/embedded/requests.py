"""What callers may send. Everything else is refused: a setting that is silently ignored falsifies an experiment."""

from __future__ import annotations

import secrets
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from components.serving.embedded.sampling import Sampler

# TGI's defaults.
MAX_STOP_SEQUENCES = 4
DEFAULT_MAX_NEW_TOKENS = 100
# OpenAI's limit.
MAX_TOP_LOGPROBS = 20

Temperature = Annotated[float, Field(ge=0, allow_inf_nan=False)]
TopP = Annotated[float, Field(gt=0, le=1)]
TopK = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**64)]
Count = Annotated[int, Field(ge=1)]
Stop = Annotated[list[Annotated[str, Field(min_length=1)]], Field(max_length=MAX_STOP_SEQUENCES)]


class Request(BaseModel):
    """Strict, without unknown fields; `null` is as if the field were absent."""

    model_config = ConfigDict(extra="forbid", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _drop_nulls(cls, data: Any) -> Any:
        return {key: value for key, value in data.items() if value is not None} if isinstance(data, dict) else data


class GenerateParameters(Request):
    """TGI's parameters of `/generate`, those that the engine honours."""

    do_sample: bool = False
    temperature: Temperature | None = None
    top_k: TopK | None = None
    top_p: TopP | None = None
    seed: Seed | None = None
    max_new_tokens: Count = DEFAULT_MAX_NEW_TOKENS
    stop: Stop = Field(default_factory=list)
    return_full_text: bool = False
    details: bool = False
    best_of: Literal[1] = 1
    watermark: Literal[False] = False
    decoder_input_details: Literal[False] = False

    @model_validator(mode="after")
    def _refuse_contradiction(self) -> GenerateParameters:
        if self.do_sample and self.temperature == 0:
            raise ValueError("do_sample=true contradicts temperature=0, which means the most likely token")
        return self

    def sampler(self) -> Sampler:
        """Greedy unless sampling is asked for: by do_sample, or by a temperature, top_k or top_p."""
        asked = self.do_sample or self.temperature is not None or self.top_k is not None or self.top_p is not None
        default = 1.0 if asked else 0.0
        return _sampler(self.seed, default if self.temperature is None else self.temperature, self.top_k, self.top_p)


class GenerateRequest(Request):
    """The body of `/generate` and `/`."""

    inputs: Annotated[str, Field(min_length=1)]
    parameters: GenerateParameters = Field(default_factory=GenerateParameters)
    stream: Literal[False] = False


class Message(Request):
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


class ChatRequest(Request):
    """The body of `/v1/chat/completions`. `model` may be anything: there is one."""

    messages: Annotated[list[Message], Field(min_length=1)]
    model: str = ""
    max_tokens: Count | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    seed: Seed | None = None
    stop: Stop = Field(default_factory=list)
    n: Literal[1] = 1
    stream: Literal[False] = False
    logprobs: bool = False
    top_logprobs: Annotated[int, Field(ge=0, le=MAX_TOP_LOGPROBS)] = 0

    @model_validator(mode="after")
    def _refuse_top_alone(self) -> ChatRequest:
        if self.top_logprobs and not self.logprobs:
            raise ValueError("`top_logprobs` needs logprobs=true")
        return self

    @property
    def alternatives(self) -> int | None:
        """How many of the likeliest tokens to report at each place; None where no log-probabilities are asked for."""
        return self.top_logprobs if self.logprobs else None

    def sampler(self) -> Sampler:
        """As in TGI's chat: greedy at temperature 0 only; without a temperature it samples at 1."""
        return _sampler(self.seed, 1.0 if self.temperature is None else self.temperature, None, self.top_p)


def _sampler(seed: int | None, temperature: float, top_k: int | None, top_p: float | None) -> Sampler:
    # 53 bits, so that a reported seed survives JSON readers that keep numbers as doubles.
    seed = secrets.randbits(53) if seed is None else seed
    return Sampler(seed, temperature, top_k, 1.0 if top_p is None else top_p)


def explain(errors: list[dict[str, Any]]) -> str:
    """One sentence for each of pydantic's errors, with the field's place in the body."""
    return "; ".join(_explain_one(error) for error in errors)


def _explain_one(error: dict[str, Any]) -> str:
    place = ".".join(str(part) for part in error["loc"] if part != "body")
    if error["type"] == "extra_forbidden":
        return f"`{place}` is not supported by the embedded engine"
    if error["type"] == "literal_error":
        return f"`{place}`: {error['msg'].lower()}, the embedded engine supports nothing else"
    return f"`{place}`: {error['msg']}" if place else error["msg"]
