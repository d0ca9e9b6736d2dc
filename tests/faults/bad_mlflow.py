"""A proxy before a real MLflow server that is bad in one way, at the requests that a test chooses."""

from __future__ import annotations

import contextlib
import http.client
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from urllib.parse import urlsplit

from tests.helpers.http_server import http_server

HTML = b"<html><body>Please log in</body></html>"
# What stands in the place of MLflow's answer: its status and body.
REPLIES: dict[str, tuple[int, bytes]] = {
    "500": (500, b'{"error_code": "INTERNAL_ERROR", "message": "the database is locked"}'),
    "503 in HTML": (503, HTML),
    "429": (429, b'{"error_code": "REQUEST_LIMIT_EXCEEDED", "message": "slow down"}'),
    "401": (401, b"You are not authenticated"),
    "404 in HTML": (404, HTML),
    "a login page": (200, HTML),
    "nothing": (200, b""),
    "an empty object": (200, b"{}"),
    "a list": (200, b"[]"),
    "null": (200, b"null"),
    "fields of other kinds": (
        200,
        b'{"experiment": 3, "experiments": "x", "run": [1], "runs": {"a": 1}, "model_version": 7,'
        b' "model_versions": "x", "registered_model": [], "metrics": 5}',
    ),
    "objects without fields": (
        200,
        b'{"experiment": {}, "experiments": [{}], "run": {}, "runs": [{}], "model_version": {},'
        b' "model_versions": [{}], "registered_model": {}, "metrics": [{}]}',
    ),
    "no UTF-8": (200, b'{"run": "\xff\xfe'),
    "a refusal": (400, b'{"error_code": "INVALID_PARAMETER_VALUE", "message": "the tag is not allowed here"}'),
}
KINDS = (*REPLIES, "half a body", "away", "taken, and its answer is lost", "slow", "hangs", "turns in circles")
SLOW_S, HANGS_S = 0.05, 20.0
Chosen = Callable[[int, str, bytes], bool]  # by the request's number, path and body


class BadMlflow:
    """`kind` is what is done to the requests that `chosen` names; `failed` counts them, `seen` counts all."""

    def __init__(self, tracking_uri: str) -> None:
        self.server, self.uri, self.kind = urlsplit(tracking_uri).netloc, "", "away"
        self.chosen: Chosen = lambda number, path, body: False
        self.seen = self.failed = 0
        self._lock = threading.Lock()

    def fails(self, path: str, body: bytes) -> bool:
        with self._lock:
            number, self.seen = self.seen, self.seen + 1
            now = self.chosen(number, path, body)
            self.failed += now
            return now


@contextmanager
def bad_mlflow(tracking_uri: str) -> Iterator[BadMlflow]:
    bad, over = BadMlflow(tracking_uri), threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def handle_one(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            with contextlib.suppress(OSError):
                _answer(bad, bad.kind if bad.fails(self.path, body) else "", self, body, over)

        do_GET = do_POST = do_PATCH = do_DELETE = do_PUT = handle_one  # noqa: N815  as http.server looks for them

        def log_message(self, *_: object) -> None: ...

    with http_server(Handler) as bad.uri:
        try:
            yield bad
        finally:
            over.set()


def _answer(bad: BadMlflow, kind: str, handler: BaseHTTPRequestHandler, body: bytes, over: threading.Event) -> None:
    """`kind` "" is MLflow's own answer."""
    if kind in REPLIES:
        _send(handler, *REPLIES[kind])
        return
    if kind == "turns in circles":
        _send(handler, 302, b"", {"Location": handler.path})
        return
    if kind == "hangs":
        over.wait(HANGS_S)
    if kind == "slow":
        time.sleep(SLOW_S)
    if kind in ("away", "hangs"):
        return
    connection = http.client.HTTPConnection(bad.server, timeout=30)
    connection.request(handler.command, handler.path, body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    status, data = answer.status, answer.read()
    connection.close()
    if kind == "half a body":
        _send(handler, status, data[: len(data) // 2], {"Content-Length": str(len(data))})
    elif kind != "taken, and its answer is lost":
        _send(handler, status, data)


def _send(handler: BaseHTTPRequestHandler, status: int, data: bytes, headers: dict[str, str] | None = None) -> None:
    handler.send_response_only(status)
    given = {"Content-Type": "application/json", "Content-Length": str(len(data)), **(headers or {})}
    for name, value in given.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(data)
