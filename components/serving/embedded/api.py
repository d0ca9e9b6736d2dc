"""TGI's API over the engine."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

from components.serving.embedded import responses
from components.serving.embedded.engine import Engine
from components.serving.embedded.metrics import Metrics
from components.serving.embedded.queue import OverloadedError
from components.serving.embedded.requests import ChatRequest, GenerateRequest, explain
from components.serving.embedded.rows import Generation, Row
from components.serving.embedded.sampling import Sampler
from components.serving.embedded.tokens import PromptError


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


class ApiError(Exception):
    """An answer other than 200, with TGI's two fields."""

    def __init__(self, status: int, error: str, error_type: str) -> None:
        super().__init__(error)
        self.status, self.error, self.error_type = status, error, error_type


def create_app(served: Served) -> FastAPI:
    """The application: routes for generating, routes for looking, and errors in TGI's form."""
    app = FastAPI(title=responses.ROUTER, version=responses.VERSION)
    _add_generation(app, served)
    _add_observation(app, served)
    _add_errors(app, served)
    return app


def _add_generation(app: FastAPI, served: Served) -> None:
    @app.post("/generate")
    async def generate(body: GenerateRequest, request: Request) -> dict[str, Any]:
        served.metrics.request_count.add(1)
        parameters = body.parameters
        prompt = served.ready().loaded.tokens.plain(body.inputs)
        row = _row(served, prompt, parameters.max_new_tokens, parameters.sampler(), parameters.stop)
        generation = await _generation(served, row, request)
        return responses.generated(generation, body.inputs if parameters.return_full_text else None, parameters.details)

    @app.post("/")
    async def compatible_generate(body: GenerateRequest, request: Request) -> list[dict[str, Any]]:
        # TGI wraps the answer of this route in a list, as the Inference API did.
        return [await generate(body, request)]

    @app.post("/v1/chat/completions")
    async def chat(body: ChatRequest, request: Request) -> dict[str, Any]:
        served.metrics.request_count.add(1)
        tokens = served.ready().loaded.tokens
        prompt = tokens.chat([message.model_dump() for message in body.messages])
        row = _row(served, prompt, body.max_tokens, body.sampler(), body.stop, body.alternatives)
        return responses.chat_completion(await _generation(served, row, request), served.model_id, tokens.decode_one)


def _add_observation(app: FastAPI, served: Served) -> None:
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
            served.metrics.queue_size.set(served.engine.queue_size)
        return Response(served.metrics.render(), media_type="text/plain; version=0.0.4")


def _add_errors(app: FastAPI, served: Served) -> None:
    def answer(status: int, error: str, error_type: str) -> JSONResponse:
        served.metrics.request_failure.add(1, of=error_type)
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


def _row(
    served: Served,
    prompt: tuple[int, ...],
    max_new_tokens: int | None,
    sampler: Sampler,
    stop: list[str],
    alternatives: int | None = None,
) -> Row:
    """A row that fits the engine's limits; without max_new_tokens it may fill what the prompt leaves of the total.

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
    return Row(prompt, max_new_tokens, sampler, stop, alternatives)


async def _generation(served: Served, row: Row, request: Request) -> Generation:
    """Queue a row and wait for its text; a caller that hangs up frees its place."""
    try:
        served.ready().submit(row)
    except OverloadedError:
        raise ApiError(429, "Model is overloaded", "overloaded") from None
    answer = asyncio.wrap_future(row.future)
    while not (await asyncio.wait({answer}, timeout=1.0))[0]:
        if await request.is_disconnected():
            answer.cancel()
            raise ApiError(499, "the caller hung up", "cancelled")
    try:
        generation = answer.result()
    except Exception as error:
        raise ApiError(500, f"Request failed during generation: {error}", "generation") from error
    served.metrics.request_success.add(1)
    served.metrics.input_length.observe(generation.prompt_tokens)
    served.metrics.generated_tokens.observe(generation.generated_tokens)
    return generation
