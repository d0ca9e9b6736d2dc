"""An endpoint that fails in every way that servers do, at the level of the connection where need be."""

from __future__ import annotations

import contextlib
import gzip
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler

from tests.helpers.http_server import http_server
from tests.helpers.scripted_endpoint import said

Reply = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    """`bad` is how it answers the first `times` requests; then it answers well, with the question's own words."""

    bad: Reply
    times: float
    asked = 0
    over: threading.Event
    lock = threading.Lock()

    def do_GET(self) -> None:
        self.whole(200, json.dumps({"data": [{"id": "m"}]}).encode())

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.lock:
            type(self).asked += 1
            number = type(self).asked
        with contextlib.suppress(OSError):  # the client gave it up
            if number <= self.times:
                type(self).bad(self)
            else:
                self.whole(200, json.dumps(said(body["messages"][-1]["content"])[1]).encode())

    def whole(self, status: int, data: bytes, *headers: tuple[str, str]) -> None:
        self.begin(status, len(data), *headers)
        self.wfile.write(data)

    def begin(self, status: int, length: int, *headers: tuple[str, str]) -> None:
        self.send_response(status)
        for name, value in (("Content-Type", "application/json"), ("Content-Length", str(length)), *headers):
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


def answers(status: int, data: bytes | str, *headers: tuple[str, str]) -> Reply:
    return lambda handler: handler.whole(status, data.encode() if isinstance(data, str) else data, *headers)


def half_a_body(handler: Handler) -> None:
    handler.begin(200, 1000)
    handler.wfile.write(b'{"choices": [{"message": {"content": "ha')
    handler.close_connection = True


def without_end(handler: Handler) -> None:
    handler.begin(200, 10**12)
    while not handler.over.is_set():
        handler.wfile.write(b" " * 1_000_000)


def drip(handler: Handler) -> None:
    """Each byte comes well within the time that one may take."""
    handler.begin(200, 10**6)
    while not handler.over.wait(0.1):
        handler.wfile.write(b" ")
        handler.wfile.flush()


def hang(handler: Handler) -> None:
    handler.over.wait()


def close(handler: Handler) -> None:
    handler.close_connection = True


EMPTY = json.dumps({"id": "x", "choices": []})
BAD: dict[str, Reply] = {
    "429": answers(429, '{"error": {"message": "Rate limit reached"}}'),
    "429 for an hour": answers(429, "{}", ("Retry-After", "3600")),
    "500": answers(500, '{"error": {"message": "internal error"}}'),
    "503, a page": answers(503, "<html><title>Service Unavailable</title></html>", ("Content-Type", "text/html")),
    "broken JSON": answers(200, '{"choices": [{"mess'),
    "a hundred thousand brackets": answers(200, "[" * 100_000),
    "the same in an object": answers(200, '{"choices": ' + "[" * 100_000),
    "an empty body": answers(200, ""),
    "no UTF-8": answers(200, b'{"choices": [\xff\xfe\x00'),
    "empty choices": answers(200, EMPTY),
    "choices of another form": answers(200, '{"choices": ["text", null, 7]}'),
    "half a body": half_a_body,
    "a body without end": without_end,
    "a slow drip": drip,
    "300 kB that unpack to 300 MB": answers(200, gzip.compress(b" " * 300_000_000), ("Content-Encoding", "gzip")),
    "no gzip, called so": answers(200, b"{}", ("Content-Encoding", "gzip")),
    "no answer at all": hang,
    "a closed connection": close,
    "headers without end": lambda handler: handler.begin(200, 2, *[(f"X-{n}", "y" * 1000) for n in range(300)]),
    "another model": answers(404, '{"error": {"message": "The model `m` does not exist", "code": "model_not_found"}}'),
    "a redirect to elsewhere": answers(307, "", ("Location", "http://127.0.0.1:9/v1/chat/completions")),
    "a login page": answers(200, "<!doctype html><html><title>Sign in</title></html>"),
}
# What no waiting makes better: it is refused at once, and nothing is asked a second time.
NEVER = ("a hundred thousand brackets", "another model", "a redirect to elsewhere", "a login page", "429 for an hour")


@contextmanager
def bad_engine(bad: Reply, times: float) -> Iterator[str]:
    over = threading.Event()
    handler = type("Bad", (Handler,), {"bad": staticmethod(bad), "times": times, "asked": 0, "over": over})
    with http_server(handler) as url:
        try:
            yield url
        finally:
            over.set()
