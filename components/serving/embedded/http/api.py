"""TGI's API over the engine."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

from components.serving.embedded.decoding.sampling import Sampler
from components.serving.embedded.decoding.sequences import Generation, Sequence
from components.serving.embedded.http import responses
from components.serving.embedded.http.requests import ChatRequest, GenerateRequest, explain
from components.serving.embedded.model.metrics import Metrics
from components.serving.embedded.model.tokenizer import PromptError
from components.serving.embedded.scheduler.engine import Engine
from components.serving.embedded.scheduler.queue import OverloadedError

DISCONNECT_POLL_INTERVAL_S = 1.0


@dataclass
class Served:
    """What the API serves; `engine` is None until the model is loaded."""

    model_id: str
    model_sha: str | None
    metrics: Metrics = field(default_factory=Metrics)
    engine: Engine | None = None
    started: int = field(default_factory=lambda: int(time.time()))

    def ready(self) -> Engine:
        """The engine. Raises a 503 while there is none."""
        if self.engine is None:
            raise ApiError(503, "the model is still being loaded: try again later", "unhealthy")
        return self.engine


@dataclass(eq=False)
class ApiError(Exception):
    """An answer other than 200, with TGI's two fields."""

    status: int
    error: str
    error_type: str


def create_app(served: Served) -> FastAPI:
    """The application: routes for generating, routes for the engine's status, and errors in TGI's form."""
    app = FastAPI(title=responses.ROUTER, version=responses.VERSION)
    _add_generating_routes(app, served)
    _add_status_routes(app, served)
    _add_error_handlers(app, served)
    return app


def _add_generating_routes(app: FastAPI, served: Served) -> None:
    @app.post("/generate")
    async def generate(body: GenerateRequest, request: Request) -> dict[str, Any]:
        served.metrics.request_count += 1
        parameters = body.parameters
        prompt = served.ready().loaded.tokenizer.encode(body.inputs)
        sequence = _sequence(served, prompt, parameters.max_new_tokens, parameters.sampler(), parameters.stop)
        generation = await _generation(served, sequence, request)
        return responses.generated(generation, body.inputs if parameters.return_full_text else None, parameters.details)

    @app.post("/")
    async def compatible_generate(body: GenerateRequest, request: Request) -> list[dict[str, Any]]:
        # TGI wraps the answer of this route in a list, as the Inference API did.
        return [await generate(body, request)]

    @app.post("/v1/chat/completions")
    async def chat(body: ChatRequest, request: Request) -> dict[str, Any]:
        served.metrics.request_count += 1
        tokenizer = served.ready().loaded.tokenizer
        prompt = tokenizer.encode_chat([message.model_dump() for message in body.messages])
        top_logprobs = body.top_logprobs if body.logprobs else None
        sequence = _sequence(served, prompt, body.max_tokens, body.sampler(), body.stop, top_logprobs)
        generation = await _generation(served, sequence, request)
        return responses.chat_completion(generation, served.model_id, tokenizer.decode_token)


def _add_status_routes(app: FastAPI, served: Served) -> None:
    @app.get("/health")
    async def health() -> Response:
        served.ready()
        return Response()

    @app.get("/info")
    async def info() -> dict[str, Any]:
        engine = served.ready()
        return responses.info(served.model_id, served.model_sha, engine.loaded, engine.limits)

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        return responses.models(served.model_id, served.started)

    @app.get("/metrics")
    async def metrics() -> Response:
        if served.engine:
            served.metrics.queue_size = len(served.engine.queue)
        return Response(served.metrics.render(), media_type="text/plain; version=0.0.4")


def _add_error_handlers(app: FastAPI, served: Served) -> None:
    def answer(status: int, error: str, error_type: str) -> JSONResponse:
        served.metrics.request_failures[error_type] += 1
        return JSONResponse({"error": error, "error_type": error_type}, status)

    @app.exception_handler(ApiError)
    async def known(_: Request, error: ApiError) -> JSONResponse:
        return answer(error.status, error.error, error.error_type)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        return answer(422, f"Input validation error: {explain(list(error.errors()))}", "validation")

    @app.exception_handler(PromptError)
    async def no_prompt(_: Request, error: PromptError) -> JSONResponse:
        return answer(422, f"Template error: {error}", "template_error")


def _sequence(
    served: Served,
    prompt: tuple[int, ...],
    max_new_tokens: int | None,
    sampler: Sampler,
    stop: list[str],
    top_logprobs: int | None = None,
) -> Sequence:
    """A sequence that fits the engine's limits; without max_new_tokens it may fill what the prompt leaves of the total.

    Raises a 422 with the numbers when it does not fit.
    """
    total = served.ready().limits.max_total_tokens
    if not prompt:
        raise ApiError(422, "Input validation error: `inputs` cannot be empty", "validation")
    if len(prompt) >= total:
        raise ApiError(
            422,
            f"Input validation error: the prompt must have at most {total - 1} tokens. Given: {len(prompt)}",
            "validation",
        )
    if max_new_tokens is None:
        max_new_tokens = total - len(prompt)
    if len(prompt) + max_new_tokens > total:
        raise ApiError(
            422,
            f"Input validation error: prompt tokens + max new tokens must be <= {total}. "
            f"Given: {len(prompt)} prompt tokens and {max_new_tokens} max new tokens",
            "validation",
        )
    return Sequence(prompt, max_new_tokens, sampler, stop, top_logprobs)


async def _generation(served: Served, sequence: Sequence, request: Request) -> Generation:
    """Queue a sequence and wait for its text; a caller that hangs up frees its place.

    Raises ApiError: 429 when the queue is full, 499 for a caller that hung up, 500 when decoding failed.
    """
    try:
        served.ready().submit(sequence)
    except OverloadedError:
        raise ApiError(429, "Model is overloaded", "overloaded") from None
    answer = asyncio.wrap_future(sequence.future)
    while not (await asyncio.wait({answer}, timeout=DISCONNECT_POLL_INTERVAL_S))[0]:
        if await request.is_disconnected():
            answer.cancel()
            raise ApiError(499, "the caller hung up", "cancelled")
    try:
        generation = answer.result()
    except Exception as error:
        raise ApiError(500, f"Request failed during generation: {error}", "generation") from error
    served.metrics.request_success += 1
    served.metrics.input_tokens += generation.prompt_tokens
    served.metrics.generated_tokens += generation.generated_tokens
    return generation
