"""One request on its way through the engine, when it ends, and what of its text is returned."""

from __future__ import annotations

from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Literal

from components.serving.embedded.decoding.sampling import Sampler, TokenLogprobs
from components.serving.embedded.model.tokenizer import Tokenizer

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
class Sequence:
    """A request as the decode loop sees it: prompt tokens in, generated tokens so far, a future for the answer.

    A caller that no longer waits cancels the future; the sequence then leaves at the next step.
    top_logprobs: how many of the likeliest tokens to report at each place; None keeps no log-probabilities.
    """

    prompt: tuple[int, ...]
    max_new_tokens: int
    sampler: Sampler
    stop: list[str] = field(default_factory=list)
    top_logprobs: int | None = None
    generated: list[int] = field(default_factory=list)
    logprobs: list[TokenLogprobs] = field(default_factory=list)
    future: Future[Generation] = field(default_factory=Future)

    @property
    def max_length(self) -> int:
        """Tokens at most, prompt and answer together."""
        return len(self.prompt) + self.max_new_tokens

    def restart(self) -> None:
        """Forget what was generated; the seed gives the same again."""
        self.generated.clear()
        self.logprobs.clear()
        self.sampler = replace(self.sampler)

    def succeed(self, text: str, finish_reason: FinishReason) -> None:
        """Answer the caller, if it still waits."""
        logprobs = None if self.top_logprobs is None else self.logprobs
        answer = Generation(text, finish_reason, len(self.prompt), len(self.generated), self.sampler.seed, logprobs)
        with suppress(InvalidStateError):
            self.future.set_result(answer)

    def fail(self, error: Exception) -> None:
        """Tell the caller, if it still waits, what went wrong."""
        with suppress(InvalidStateError):
            self.future.set_exception(error)


def finished(sequence: Sequence, tokenizer: Tokenizer) -> tuple[str, FinishReason] | None:
    """The text and the reason if the sequence's last token finished it, otherwise None.

    The stop sequence stays in the text and what follows it is cut, as in TGI. Unlike TGI, an end-of-sequence token or a
    stop sequence that comes with the last allowed token counts as such and not as "length": the answer is whole.
    """
    generated, stop = sequence.generated, sequence.stop
    if generated[-1] in tokenizer.end_ids:
        return tokenizer.decode(generated), "eos_token"
    if stop:
        # A character is at most 4 byte tokens, so this window holds any stop sequence that ends in the newest token,
        # and a long answer is not decoded as a whole at every step.
        tail = tokenizer.decode(generated[-(4 * max(map(len, stop)) + 8) :])
        if any(text in tail for text in stop):
            answer = tokenizer.decode(generated)
            ends = [answer.find(text) + len(text) for text in stop if text in answer]
            if ends:
                return answer[: min(ends)], "stop_sequence"
    if len(generated) >= sequence.max_new_tokens:
        return tokenizer.decode(generated), "length"
    return None
