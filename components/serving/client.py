"""The one client of every engine: OpenAI-compatible chat completions, with retries."""

from __future__ import annotations

import asyncio
import json
import math
import os
import random
import re
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from components.core.errors import UserError
from components.core.hashing import content_hash
from components.core.progress import warn
from components.core.records import Messages

RETRIED_STATUS = frozenset({408, 429, 500, 502, 503, 504})
PROMPT_TOO_LONG = "prompt_too_long"
# How endpoints name what they refuse: OpenAI and vLLM `logprobs` or `top_logprobs`, TGI `top_n_tokens`.
_LOGPROBS = re.compile("logprobs|top_n_tokens")
_TOO_LONG = re.compile(
    "maximum context length|context_length_exceeded|exceed_context_size|max_tokens must be at least 1", re.IGNORECASE
)
_TOP_P = re.compile(r"top_?p\b", re.IGNORECASE)


@dataclass(frozen=True)
class Sampling:
    """How to draw a completion. Temperature 0 is greedy; `max_tokens` counts new tokens.

    `top_logprobs` asks for the log-probabilities of so many of the likeliest tokens; 0 asks for none.
    """

    temperature: float
    top_p: float
    max_tokens: int
    stop: tuple[str, ...] = ()
    top_logprobs: int = 0


@dataclass(frozen=True)
class Request:
    """One chat completion to make; `id` names the record that it becomes, `seed` makes it repeatable."""

    id: str
    messages: Messages
    sampling: Sampling
    seed: int


@dataclass(frozen=True)
class Completion:
    """What the engine answered. `finish_reason` is "stop", "length" or "prompt_too_long" (then there is no text).

    `first_token`: log-probabilities (natural logarithm) of the likeliest first tokens by their text, exactly as the
    endpoint wrote it; None where it gave none.
    """

    text: str
    finish_reason: str
    tokens: int
    first_token: Mapping[str, float] | None = None


@dataclass(frozen=True)
class RetryPolicy:
    """How long to keep trying one request; waits start at `first_wait` seconds and double to `longest_wait`."""

    attempts: int = 8
    first_wait: float = 0.5
    longest_wait: float = 20.0
    timeout: float = 600.0

    def wait(self, attempt: int) -> float:
        """Seconds to wait after attempt number `attempt` (from 0), up to half of it taken off at random.

        Callers that failed together so do not come back together.
        """
        return min(self.longest_wait, self.first_wait * 2**attempt) * random.uniform(0.5, 1.0)


@dataclass
class Client:
    """Chat completions from one endpoint."""

    url: str
    retry: RetryPolicy = field(default_factory=RetryPolicy)

    def __post_init__(self) -> None:
        from huggingface_hub import AsyncInferenceClient

        # An explicit key: without one the hub's saved token would be sent to whatever endpoint this is.
        key = os.environ.get("SRLM_ENDPOINT_API_KEY") or "none"
        self._client = AsyncInferenceClient(base_url=self.url, api_key=key, timeout=self.retry.timeout)
        self._logprobs_refused = self._top_p_of_1_refused = False

    async def complete(self, request: Request) -> Completion:
        """The completion of one request.

        Retries 429, 5xx, timeouts and lost connections; raises UserError that names the endpoint when all attempts
        failed or the endpoint refuses the request. One that refuses log-probabilities alone is asked without them.
        """
        problem = ""
        for attempt in range(self.retry.attempts):
            sent_top_p_of_1 = self._sends_top_p_of_1(request.sampling)
            try:
                return await self._send(request)
            except Exception as error:
                response = getattr(error, "response", None)
                status: int | None = getattr(response, "status_code", None)
                body: str = getattr(response, "text", "") or ""
                problem = (body.strip() or str(error).strip() or type(error).__name__).splitlines()[0][:300]
                if sent_top_p_of_1 and status and 400 <= status < 500 and _TOP_P.search(body):
                    self._top_p_of_1_refused = True  # TGI, whose own default it is
                    return await self.complete(request)
                if not _worth_retrying(error, status):
                    return await self._after_refusal(request, error, status, body, problem)
            if attempt + 1 < self.retry.attempts:
                await asyncio.sleep(self.retry.wait(attempt))
        raise UserError(
            f"the endpoint {self.url} did not answer after {self.retry.attempts} attempts ({problem})",
            "Check that it is up and not overloaded, then run again: answers already made are kept.",
        )

    async def _send(self, request: Request) -> Completion:
        sampling = request.sampling
        extra: dict[str, Any] = {"stop": list(sampling.stop)} if sampling.stop else {}
        if sampling.top_p < 1 or self._sends_top_p_of_1(sampling):
            extra["top_p"] = sampling.top_p
        if sampling.top_logprobs and not self._logprobs_refused:
            extra |= {"logprobs": True, "top_logprobs": sampling.top_logprobs}
        answer = await self._client.chat_completion(
            request.messages,
            max_tokens=sampling.max_tokens,
            seed=request.seed,
            temperature=sampling.temperature,  # 0 is greedy; left out it would be 1
            **extra,
        )
        choice = answer.choices[0]
        text = choice.message.content or ""
        # TGI keeps the stop sequence at the end of the text, OpenAI does not: here it is never part of it.
        text = text[: min((text.find(stop) for stop in sampling.stop if stop in text), default=None)]
        return Completion(
            text=text,
            finish_reason="length" if choice.finish_reason == "length" else "stop",
            tokens=answer.usage.completion_tokens if answer.usage else 0,
            first_token=_first_token(choice.logprobs) if sampling.top_logprobs else None,
        )

    def _sends_top_p_of_1(self, sampling: Sampling) -> bool:
        """Not left out: vLLM's default is what the model's generation_config.json says. Greedily it is moot."""
        return sampling.top_p == 1 and sampling.temperature > 0 and not self._top_p_of_1_refused

    async def _after_refusal(
        self, request: Request, error: Exception, status: int | None, body: str, problem: str
    ) -> Completion:
        """The completion after all, where log-probabilities were refused or the prompt is too long; else UserError."""
        sampling = request.sampling
        # First, because TGI's refusal of too many log-probabilities speaks of tokens too. OpenAI and vLLM say 400.
        if sampling.top_logprobs and status and 400 <= status < 500 and _LOGPROBS.search(body):
            completion = await self.complete(replace(request, sampling=replace(sampling, top_logprobs=0)))
            # Answered without them, so they were all that was refused: do not ask for them again.
            if not self._logprobs_refused:
                self._logprobs_refused = True
                warn(f"the endpoint {self.url} refuses log-probabilities: asking without them ({problem})")
            return completion
        # TGI and the embedded engine name tokens when a prompt leaves no room for the answer; vLLM and others say 400.
        # A template that refuses a conversation may name tokens, too ("template_error").
        names_tokens = "token" in body.lower() and "template" not in body.lower()
        if (status == 422 and names_tokens) or (status == 400 and _TOO_LONG.search(body)):
            return Completion(text="", finish_reason=PROMPT_TOO_LONG, tokens=0)
        raise UserError(
            f"the endpoint {self.url} refused a request ({problem})",
            "Check that it serves a model whose chat template knows what it is asked (system messages, several turns), "
            "and SRLM_ENDPOINT_API_KEY if it needs a key.",
        ) from error

    async def close(self) -> None:
        await self._client.close()


def _first_token(logprobs: Any) -> dict[str, float] | None:
    """Log-probabilities by token text from an answer's `logprobs`: null, empty or of another form is None.

    Tokens of one text (sentencepiece's "m" and "▁m" both read "m" where they are decoded alone) count as one: their
    probabilities add up. Impossible ones are left out.
    """
    by_text: dict[str, float] = {}
    try:
        for token in logprobs.content[0].top_logprobs:
            new = token.logprob
            if math.isfinite(new):
                known = by_text.get(token.token, -math.inf)
                # log(exp(known) + exp(new)) without underflow
                by_text[token.token] = max(known, new) + math.log1p(math.exp(-abs(known - new)))
    except (AttributeError, IndexError, KeyError, TypeError):
        return None
    return by_text or None


def _worth_retrying(error: Exception, status: int | None) -> bool:
    if status is not None:
        return status in RETRIED_STATUS
    import httpx2

    return isinstance(error, (httpx2.TransportError, TimeoutError, ConnectionError))


def endpoint_info(url: str, timeout: float = 10.0) -> dict[str, Any]:
    """TGI's `/info` of an endpoint, or the first of `/v1/models`; raises UserError when neither answers."""
    problem = ""
    for path in ("/info", "/v1/models"):
        try:
            with urllib.request.urlopen(url.rstrip("/") + path, timeout=timeout) as response:  # noqa: S310
                body = json.load(response)
        except (OSError, ValueError) as error:
            problem = str(error)
            continue
        if path == "/info":
            return body
        model = body["data"][0]  # vLLM names its context there
        return {"model_id": model["id"], "max_total_tokens": model.get("max_model_len")}
    raise UserError(
        f"the endpoint {url} does not answer ({problem})", "Start the server there or correct the URL, then run again."
    )


def endpoint_identity(url: str) -> str:
    """A hash of the model that an endpoint says it serves: part of the key of what an external judge judged."""
    info = endpoint_info(url)
    return content_hash([info.get("model_id"), info.get("model_sha")])
