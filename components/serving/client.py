"""The one client of every engine: OpenAI-compatible chat completions, asked for with patience."""

from __future__ import annotations

import asyncio
import json
import os
import random
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from typing import Any

from components.errors import UserError
from components.identity import content_hash
from components.records import Messages

RETRIED_STATUS = frozenset({408, 429, 500, 502, 503, 504})
PROMPT_TOO_LONG = "prompt_too_long"


@dataclass(frozen=True)
class Sampling:
    """How to draw a completion. Temperature 0 is greedy; `max_tokens` counts new tokens."""

    temperature: float
    top_p: float
    max_tokens: int
    stop: tuple[str, ...] = ()


@dataclass(frozen=True)
class Request:
    """One chat completion to make; `id` names the record that it becomes, `seed` makes it repeatable."""

    id: str
    messages: Messages
    sampling: Sampling
    seed: int


@dataclass(frozen=True)
class Completion:
    """What the engine answered. `finish_reason` is "stop", "length" or "prompt_too_long" (then there is no text)."""

    text: str
    finish_reason: str
    tokens: int


@dataclass(frozen=True)
class Patience:
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
    patience: Patience = field(default_factory=Patience)

    def __post_init__(self) -> None:
        from huggingface_hub import AsyncInferenceClient

        # An explicit key: without one the hub's saved token would be sent to whatever endpoint this is.
        key = os.environ.get("SRLM_ENDPOINT_API_KEY") or "none"
        self._client = AsyncInferenceClient(base_url=self.url, api_key=key, timeout=self.patience.timeout)

    async def complete(self, request: Request) -> Completion:
        """The completion of one request.

        Retries 429, 5xx, timeouts and lost connections; raises UserError that names the endpoint when patience ends or
        the endpoint refuses the request.
        """
        problem = ""
        for attempt in range(self.patience.attempts):
            try:
                return await self._once(request)
            except Exception as error:
                status = _status(error)
                if status == 422 and _is_about_length(error):
                    return Completion(text="", finish_reason=PROMPT_TOO_LONG, tokens=0)
                if not _worth_retrying(error, status):
                    raise _refused(self.url, error) from error
                problem = _describe(error)
            if attempt + 1 < self.patience.attempts:
                await asyncio.sleep(self.patience.wait(attempt))
        raise UserError(
            f"the endpoint {self.url} did not answer after {self.patience.attempts} attempts ({problem})",
            "Check that it is up and not overloaded, then run again: answers already made are kept.",
        )

    async def _once(self, request: Request) -> Completion:
        sampling = request.sampling
        extra: dict[str, Any] = {"stop": list(sampling.stop)} if sampling.stop else {}
        if sampling.top_p < 1:  # TGI refuses an explicit 1
            extra["top_p"] = sampling.top_p
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
        return Completion(text=text, finish_reason=reason, tokens=answer.usage.completion_tokens if answer.usage else 0)

    async def close(self) -> None:
        await self._client.close()


def _without_stop(text: str, stop: tuple[str, ...]) -> str:
    """TGI keeps the stop sequence at the end of the text, OpenAI does not: here it is never part of it."""
    found = [text.find(mark) for mark in stop if mark in text]
    return text[: min(found)] if found else text


def _status(error: Exception) -> int | None:
    response = getattr(error, "response", None)
    return getattr(response, "status_code", None)


def _worth_retrying(error: Exception, status: int | None) -> bool:
    if status is not None:
        return status in RETRIED_STATUS
    import httpx2

    return isinstance(error, (httpx2.TransportError, TimeoutError, ConnectionError))


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
