"""The one client of every engine: OpenAI-compatible chat completions, asked for with patience."""

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
        self._logprobs_refused = False

    async def complete(self, request: Request) -> Completion:
        """The completion of one request.

        Retries 429, 5xx, timeouts and lost connections; raises UserError that names the endpoint when patience ends or
        the endpoint refuses the request. One that refuses log-probabilities alone is asked without them.
        """
        problem = ""
        for attempt in range(self.retry.attempts):
            try:
                return await self._once(request)
            except Exception as error:
                status = _status(error)
                # first, because TGI's refusal of too many log-probabilities speaks of tokens too
                if request.sampling.top_logprobs and _refuses_logprobs(error, status):
                    return await self._without_logprobs(request, error)
                if status == 422 and _is_about_length(error):
                    return Completion(text="", finish_reason=PROMPT_TOO_LONG, tokens=0)
                if not _worth_retrying(error, status):
                    raise _refused(self.url, error) from error
                problem = _describe(error)
            if attempt + 1 < self.retry.attempts:
                await asyncio.sleep(self.retry.wait(attempt))
        raise UserError(
            f"the endpoint {self.url} did not answer after {self.retry.attempts} attempts ({problem})",
            "Check that it is up and not overloaded, then run again: answers already made are kept.",
        )

    async def _once(self, request: Request) -> Completion:
        sampling = request.sampling
        extra: dict[str, Any] = {"stop": list(sampling.stop)} if sampling.stop else {}
        if sampling.top_p < 1:  # TGI refuses an explicit 1
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
        text = _without_stop(choice.message.content or "", sampling.stop)
        reason = "length" if choice.finish_reason == "length" else "stop"
        tokens = answer.usage.completion_tokens if answer.usage else 0
        first_token = _first_token(choice.logprobs) if sampling.top_logprobs else None
        return Completion(text=text, finish_reason=reason, tokens=tokens, first_token=first_token)

    async def _without_logprobs(self, request: Request, refusal: Exception) -> Completion:
        """The completion without log-probabilities, which are not asked for again if that was all that was refused."""
        answer = await self.complete(replace(request, sampling=replace(request.sampling, top_logprobs=0)))
        if not self._logprobs_refused:
            self._logprobs_refused = True
            warn(f"the endpoint {self.url} refuses log-probabilities: asking without them ({_describe(refusal)})")
        return answer

    async def close(self) -> None:
        await self._client.close()


def _without_stop(text: str, stop: tuple[str, ...]) -> str:
    """TGI keeps the stop sequence at the end of the text, OpenAI does not: here it is never part of it."""
    found = [text.find(mark) for mark in stop if mark in text]
    return text[: min(found)] if found else text


def _first_token(logprobs: Any) -> dict[str, float] | None:
    """Log-probabilities by token text from an answer's `logprobs`: null, empty or of another form is None.

    Tokens of one text (sentencepiece's "m" and "▁m" both read "m" where they are decoded alone) count as one: their
    probabilities add up. Impossible ones are left out.
    """
    found: dict[str, float] = {}
    try:
        for one in logprobs.content[0].top_logprobs:
            if math.isfinite(one.logprob):
                found[one.token] = _log_of_sum(found.get(one.token, -math.inf), one.logprob)
    except (AttributeError, IndexError, KeyError, TypeError):
        return None
    return found or None


def _log_of_sum(known: float, new: float) -> float:
    """log(exp(known) + exp(new)) for a finite `new`, without underflow."""
    high = max(known, new)
    return high + math.log1p(math.exp(min(known, new) - high))


def _status(error: Exception) -> int | None:
    response = getattr(error, "response", None)
    return getattr(response, "status_code", None)


def _worth_retrying(error: Exception, status: int | None) -> bool:
    if status is not None:
        return status in RETRIED_STATUS
    import httpx2

    return isinstance(error, (httpx2.TransportError, TimeoutError, ConnectionError))


def _refuses_logprobs(error: Exception, status: int | None) -> bool:
    """A 4xx that names them: 400 from OpenAI and vLLM, 422 from TGI."""
    refused = status is not None and 400 <= status < 500 and status not in RETRIED_STATUS
    return refused and _LOGPROBS.search(_body(error)) is not None


def _is_about_length(error: Exception) -> bool:
    """TGI, vLLM and the embedded engine all name tokens when a prompt leaves no room for the answer."""
    return "token" in _body(error).lower()


def _body(error: Exception) -> str:
    response = getattr(error, "response", None)
    return getattr(response, "text", "") or ""


def _describe(error: Exception) -> str:
    text = (_body(error) or str(error) or type(error).__name__).strip()
    return text.splitlines()[0][:300]


def _refused(url: str, error: Exception) -> UserError:
    return UserError(
        f"the endpoint {url} refused a request ({_describe(error)})",
        "Check that it serves a model with a chat template, and SRLM_ENDPOINT_API_KEY if it needs a key.",
    )


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
        return body if path == "/info" else {"model_id": body["data"][0]["id"]}
    raise UserError(
        f"the endpoint {url} does not answer ({problem})", "Start the server there or correct the URL, then run again."
    )


def endpoint_identity(url: str) -> str:
    """A hash of the model that an endpoint says it serves: part of the key of what an external judge judged."""
    info = endpoint_info(url)
    return content_hash([info.get("model_id"), info.get("model_sha")])
