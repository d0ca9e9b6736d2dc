"""What the engine answers, in TGI's words."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import Any

from components.serving.embedded.decoding.sampling import TokenLogprobs
from components.serving.embedded.decoding.sequences import Generation
from components.serving.embedded.http.requests import MAX_STOP_SEQUENCES
from components.serving.embedded.model.loading import LoadedModel
from components.serving.embedded.scheduler.engine import Limits

VERSION = "1.0.0"
ROUTER = "self-rewarding-embedded"


def generated(generation: Generation, prompt: str | None, details: bool) -> dict[str, Any]:
    """The answer of `/generate`; `prompt` is put before the text where the caller wants the full text."""
    answer: dict[str, Any] = {"generated_text": (prompt or "") + generation.text}
    if details:
        # Clients' types require the two lists; the engine gives probabilities of single tokens in chats alone.
        answer["details"] = {
            "finish_reason": generation.finish_reason,
            "generated_tokens": generation.generated_tokens,
            "seed": generation.seed,
            "prefill": [],
            "tokens": [],
        }
    return answer


def chat_completion(generation: Generation, model_id: str, text_of: Callable[[int], str]) -> dict[str, Any]:
    """The answer of `/v1/chat/completions`; `text_of` gives a token's text."""
    return {
        "id": f"chatcmpl-{secrets.token_hex(12)}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model_id,
        "system_fingerprint": f"{VERSION}-embedded",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": generation.text},
                "logprobs": _chat_logprobs(generation.logprobs, text_of),
                "finish_reason": "length" if generation.finish_reason == "length" else "stop",
            }
        ],
        "usage": {
            "prompt_tokens": generation.prompt_tokens,
            "completion_tokens": generation.generated_tokens,
            "total_tokens": generation.prompt_tokens + generation.generated_tokens,
        },
    }


def _chat_logprobs(logprobs: list[TokenLogprobs] | None, text_of: Callable[[int], str]) -> dict[str, Any] | None:
    """OpenAI's form without its optional bytes; as in TGI the end-of-sequence token has an entry too."""
    if logprobs is None:
        return None

    return {
        "content": [
            {
                "token": text_of(place.token),
                "logprob": place.logprob,
                "top_logprobs": [{"token": text_of(token), "logprob": logprob} for token, logprob in place.likeliest],
            }
            for place in logprobs
        ]
    }


def info(model_id: str, model_sha: str | None, loaded: LoadedModel, limits: Limits) -> dict[str, Any]:
    """The answer of `/info`."""
    return {
        "model_id": model_id,
        "model_sha": model_sha,
        "model_pipeline_tag": "text-generation",
        "model_dtype": str(loaded.model.dtype).removeprefix("torch."),
        "model_device_type": loaded.model.device.type,
        "max_concurrent_requests": limits.max_queue,
        "max_best_of": 1,
        "max_stop_sequences": MAX_STOP_SEQUENCES,
        "max_input_tokens": limits.max_total_tokens - 1,
        "max_total_tokens": limits.max_total_tokens,
        "max_batch_total_tokens": limits.max_batch_total_tokens,
        "max_batch_size": limits.max_batch,
        "validation_workers": 1,
        "max_client_batch_size": 1,
        "router": ROUTER,
        "version": VERSION,
        "sha": None,
        "docker_label": None,
    }


def models(model_id: str, created: int) -> dict[str, Any]:
    """The answer of `/v1/models`."""
    return {
        "object": "list",
        "data": [{"id": model_id, "object": "model", "created": created, "owned_by": model_id}],
    }
