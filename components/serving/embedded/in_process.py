"""Serve a model that this process holds already, for a while: what training needs to look at its own answers."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from components.core.errors import UserError
from components.serving.embedded.api import Served, create_app
from components.serving.embedded.engine import Engine, Limits
from components.serving.embedded.loading import check
from components.serving.embedded.process import bind, url_of

SECONDS_TO_START = 30.0


@contextmanager
def served_in_process(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, limits: Limits) -> Iterator[str]:
    """The URL of a server for `model`, which must be in evaluation mode and must not be used otherwise meanwhile.

    Afterwards the model has the attention again that it came with. Raises UserError when the engine cannot serve it.
    """
    attention = model.config._attn_implementation
    served = Served("the model in training", None)
    engine = served.engine = Engine(check(model, tokenizer), limits, served.metrics)
    engine.start()
    try:
        with _listening(served) as url:
            yield url
    finally:
        engine.stop()
        model.set_attn_implementation(attention)


@contextmanager
def _listening(served: Served) -> Iterator[str]:
    listener = bind("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(create_app(served), log_level="warning", lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="http", daemon=True)
    thread.start()
    try:
        deadline = time.monotonic() + SECONDS_TO_START
        while not server.started:
            if time.monotonic() > deadline or not thread.is_alive():
                raise UserError("the server inside the training process did not start", "Run again to continue.")
            time.sleep(0.01)
        yield url_of(listener)
    finally:
        server.should_exit = True
        thread.join()
