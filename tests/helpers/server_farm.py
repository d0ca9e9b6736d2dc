"""Servers for the models of a run whose steps cannot start one: one for each model that the run makes.

Steps in containers cannot leave a process behind, so they use the engine `endpoint`; its URL ends with a model's name.
"""

from __future__ import annotations

import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler

from components.core.journal import read_journal
from components.serving.engines.processes import EmbeddedEngine
from components.serving.settings import ServingSettings
from tests.helpers.http_server import http_server

MAKERS = ("base-model", "sft", "dpo")  # stages that make a model


class Farm:
    """Starts a server as soon as the run's journal tells of a model."""

    def __init__(self, root: str, run: str, settings: ServingSettings) -> None:
        self.root, self.run, self.settings = root, run, settings
        self.urls: dict[str, str] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Farm:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        EmbeddedEngine().stop(self.run)

    def url(self, model: str, seconds: float = 60) -> str:
        deadline = time.monotonic() + seconds
        while model not in self.urls and time.monotonic() < deadline:
            time.sleep(0.1)
        return self.urls[model]

    def _watch(self) -> None:
        while not self._over.wait(0.5):
            for entry in read_journal(self.root, self.run, "stages"):
                model, _, stage = entry["name"].partition("/")
                if stage in MAKERS and model not in self.urls:
                    self.urls[model] = EmbeddedEngine().start(self.run, model, entry["uri"], self.settings)


@contextmanager
def farm(root: str, run: str, settings: ServingSettings) -> Iterator[str]:
    """The URL of all servers, with `{model}` for the name."""
    with Farm(root, run, settings) as servers, http_server(_handler(servers)) as url:
        yield f"{url}/{{model}}"


def _handler(servers: Farm) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._hand_on(None)

        def do_POST(self) -> None:
            self._hand_on(self.rfile.read(int(self.headers["Content-Length"])))

        def _hand_on(self, body: bytes | None) -> None:
            model, _, path = self.path.strip("/").partition("/")
            request = urllib.request.Request(f"{servers.url(model)}/{path}", body, {"Content-Type": "application/json"})
            try:
                with urllib.request.urlopen(request) as answer:
                    status, text = answer.status, answer.read()
            except urllib.error.HTTPError as error:
                status, text = error.code, error.read()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: object) -> None:
            """Nobody reads it."""

    return Handler
