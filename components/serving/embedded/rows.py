"""One request on its way through the engine, and when it ends."""

from __future__ import annotations

from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal

from components.serving.embedded.logprobs import TokenLogprobs
from components.serving.embedded.sampling import Sampler

FinishReason = Literal["length", "eos_token", "stop_sequence"]


@dataclass(frozen=True)
class Generation:
    """A finished request. `generated_tokens` counts the end-of-sequence token, as TGI does.

    logprobs: one entry a generated token, None where the caller did not ask.
    """

    text: str
    finish_reason: FinishReason
    prompt_tokens: int
    generated_tokens: int
    seed: int
    logprobs: list[TokenLogprobs] | None = None


@dataclass(eq=False)
class Row:
    """A request as the decode loop sees it: prompt tokens in, generated tokens so far, a future for the answer.

    A caller that no longer waits cancels the future; the row then leaves at the next step.
    alternatives: how many of the likeliest tokens to report at each place; None keeps no log-probabilities.
    """

    prompt: tuple[int, ...]
    max_new_tokens: int
    sampler: Sampler
    stop: list[str] = field(default_factory=list)
    alternatives: int | None = None
    generated: list[int] = field(default_factory=list)
    logprobs: list[TokenLogprobs] = field(default_factory=list)
    future: Future[Generation] = field(default_factory=Future)

    @property
    def last_token(self) -> int:
        """The token that the next step feeds to the model: its keys are not there yet."""
        return self.generated[-1] if self.generated else self.prompt[-1]

    @property
    def position(self) -> int:
        """Where `last_token` stands in the text, from 0."""
        return len(self.prompt) + len(self.generated) - 1

    @property
    def final_length(self) -> int:
        """Tokens at most, prompt and answer together."""
        return len(self.prompt) + self.max_new_tokens

    def succeed(self, text: str, finish_reason: FinishReason) -> None:
        """Answer the caller, if it still waits."""
        logprobs = None if self.alternatives is None else self.logprobs
        answer = Generation(text, finish_reason, len(self.prompt), len(self.generated), self.sampler.seed, logprobs)
        with suppress(InvalidStateError):
            self.future.set_result(answer)

    def fail(self, error: Exception) -> None:
        """Tell the caller, if it still waits, what went wrong."""
        with suppress(InvalidStateError):
            self.future.set_exception(error)
