"""What callers may send. Everything else is refused: a setting that is silently ignored falsifies an experiment."""

from __future__ import annotations

import secrets
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from components.serving.embedded.decoding.sampling import Sampler

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
    def _check_consistency(self) -> GenerateParameters:
        if self.do_sample and self.temperature == 0:
            raise ValueError("do_sample=true contradicts temperature=0, which means the most likely token")
        return self

    def sampler(self) -> Sampler:
        """Greedy unless sampling is asked for: by do_sample, or by a temperature, top_k or top_p."""
        settings = (self.temperature, self.top_k, self.top_p)
        default = 1.0 if self.do_sample or any(setting is not None for setting in settings) else 0.0
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
    def _check_consistency(self) -> ChatRequest:
        if self.top_logprobs and not self.logprobs:
            raise ValueError("`top_logprobs` needs logprobs=true")
        return self

    def sampler(self) -> Sampler:
        """As in TGI's chat: greedy at temperature 0 only; without a temperature it samples at 1."""
        return _sampler(self.seed, 1.0 if self.temperature is None else self.temperature, None, self.top_p)


def _sampler(seed: int | None, temperature: float, top_k: int | None, top_p: float | None) -> Sampler:
    # 53 bits, so that a reported seed survives JSON readers that keep numbers as doubles.
    seed = secrets.randbits(53) if seed is None else seed
    return Sampler(seed, temperature, top_k, 1.0 if top_p is None else top_p)


def explain(errors: list[dict[str, Any]]) -> str:
    """One sentence for each of pydantic's errors, with the field's place in the body."""
    sentences = []
    for error in errors:
        field, message = ".".join(str(part) for part in error["loc"] if part != "body"), error["msg"]
        if error["type"] == "extra_forbidden":
            sentences.append(f"`{field}` is not supported by the embedded engine")
        elif error["type"] == "literal_error":
            sentences.append(f"`{field}`: {message.lower()}, the embedded engine supports nothing else")
        else:
            sentences.append(f"`{field}`: {message}" if field else message)
    return "; ".join(sentences)
