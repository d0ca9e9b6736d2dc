"""A server in front of MLflow that can go down at a chosen request."""

from __future__ import annotations

import http.client
import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from urllib.parse import urlsplit

from tests.helpers.http_server import http_server


class Forwarder:
    """`answers`: how many requests are answered; the one after them still reaches MLflow, but its answer is lost."""

    def __init__(self) -> None:
        self.uri, self.seen, self.answers, self.garbage = "", 0, math.inf, False
        self.lock = threading.Lock()

    def down_after(self, answers: float) -> None:
        self.seen, self.answers = 0, answers


@contextmanager
def forwarded(tracking_uri: str) -> Iterator[Forwarder]:
    """A way to MLflow that can be cut, for as long as the context lasts."""
    forwarder = Forwarder()

    class Handler(BaseHTTPRequestHandler):
        def forward(self) -> None:
            with forwarder.lock:
                forwarder.seen += 1
                number = forwarder.seen
            if number > forwarder.answers + 1:
                return  # closes the connection without a word
            status, data = (200, b"hello") if forwarder.garbage else self.ask()
            if number <= forwarder.answers:
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        def ask(self) -> tuple[int, bytes]:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            connection = http.client.HTTPConnection(urlsplit(tracking_uri).netloc)
            connection.request(self.command, self.path, body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            return answer.status, answer.read()

        do_GET = do_POST = do_PATCH = do_DELETE = forward  # noqa: N815  as http.server looks for them

        def log_message(self, *_: object) -> None: ...

    with http_server(Handler) as forwarder.uri:
        yield forwarder
