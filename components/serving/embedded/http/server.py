"""Around the API: its port, its ready file, its owner and its end; or a server on a thread of a training process."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from components.core.errors import UserError
from components.serving.embedded.http.api import Served, create_app
from components.serving.embedded.model.loading import verified
from components.serving.embedded.scheduler.engine import Engine, Limits

START_TIMEOUT_S = 30.0
START_POLL_INTERVAL_S = 0.01

log = logging.getLogger(__name__)


def bind(host: str, port: int) -> socket.socket:
    """A listening TCP socket; port 0 takes a free one. Raises UserError when the address cannot be had."""
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        # Without this a second server could take the same port while the first one still loads.
        listener.listen()
    except OSError as error:
        raise UserError(
            f"cannot listen on {host}:{port}: {error.strerror}", "Choose another --host or --port."
        ) from error
    return listener


def url_of(listener: socket.socket) -> str:
    """Where the server is reached from this machine."""
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 (no binding here)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def end_at_once_on_signals() -> None:
    """SIGTERM and SIGINT end the process with code 0.

    While it serves, uvicorn takes these signals, lets answers go out for a moment and raises them again afterwards.
    The decode thread may be in the middle of a long product then; waiting for it is of no use to anybody.
    """

    def end(number: int, _: object) -> None:
        log.info("%s: stopped", signal.Signals(number).name)
        os._exit(0)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)


@contextmanager
def served_in_process(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, limits: Limits) -> Iterator[str]:
    """The URL of a server for a model that this process holds already: training looks at its own answers so.

    The model must be in evaluation mode and must not be used otherwise meanwhile. Afterwards it has the attention again
    that it came with. Raises UserError when the engine cannot serve it.
    """
    attention = model.config._attn_implementation
    served = Served("the model in training", None)
    engine = served.engine = Engine(verified(model, tokenizer), limits, served.metrics)
    engine.start()
    try:
        with _listening(served) as url:
            yield url
    finally:
        engine.stop()
        model.set_attn_implementation(attention)


@contextmanager
def _listening(served: Served) -> Iterator[str]:
    """The URL of the API on a thread of this process; raises UserError when it does not start."""
    listener = bind("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(create_app(served), log_level="warning", lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="http", daemon=True)
    thread.start()
    try:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not server.started:
            if time.monotonic() > deadline or not thread.is_alive():
                raise UserError("the server inside the training process did not start", "Run again to continue.")
            time.sleep(START_POLL_INTERVAL_S)
        yield url_of(listener)
    finally:
        server.should_exit = True
        thread.join()
