"""A proxy before a real S3 server that fails now and then, in one way, by a seeded draw."""

from __future__ import annotations

import contextlib
import http.client
import random
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from urllib.parse import urlsplit

from tests.helpers.http_server import http_server

SLOW_S = 0.5
KINDS = (
    *("503", "slow", "403", "an upload that is cut off", "an upload taken whose answer is lost"),
    *("a download that is cut off", "a byte that flips on its way up", "a byte that flips on its way down"),
    *("lists that come late", "away"),
)


class BadStore:
    """`share` of the requests that `kind` concerns fail; `failed` counts them."""

    def __init__(self, uri: str, kind: str, share: float, seed: int) -> None:
        self.server, self.kind, self.share, self.failed = urlsplit(uri).netloc, kind, share, 0
        self._draws, self._lock = random.Random(seed), threading.Lock()
        self.url = ""

    def fails(self, handler: BaseHTTPRequestHandler) -> bool:
        lists = "list-type=2" in handler.path
        concerned = {
            "an upload that is cut off": handler.command == "PUT",
            "an upload taken whose answer is lost": handler.command == "PUT",
            "a byte that flips on its way up": handler.command == "PUT",
            "a download that is cut off": handler.command == "GET" and not lists,
            "a byte that flips on its way down": handler.command == "GET" and not lists,
            "lists that come late": lists,
        }
        with self._lock:
            now = concerned.get(self.kind, True) and self._draws.random() < self.share
            self.failed += now
            return now


@contextmanager
def bad_store(uri: str, kind: str, share: float, seed: int = 0) -> Iterator[BadStore]:
    bad = BadStore(uri, kind, share, seed)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_one(self) -> None:
            if self.headers.get("Expect"):
                self.send_response_only(100)
                self.end_headers()
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            with contextlib.suppress(OSError, http.client.HTTPException):
                self.close_connection = True
                _answer(bad, self, body)

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_one  # noqa: N815  as http.server looks for them

        def handle_expect_100(self) -> bool:
            return True

        def log_message(self, *_: object) -> None: ...

    with http_server(Handler) as bad.url:
        yield bad


def _answer(bad: BadStore, handler: BaseHTTPRequestHandler, body: bytes) -> None:
    fails = bad.fails(handler)
    if fails and bad.kind == "away":
        return
    if fails and bad.kind in ("503", "403"):
        code = "ServiceUnavailable" if bad.kind == "503" else "AccessDenied"
        _send(handler, int(bad.kind), {}, f"<Error><Code>{code}</Code></Error>".encode())
        return
    if fails and bad.kind == "slow":
        time.sleep(SLOW_S)
    if fails and bad.kind == "a byte that flips on its way up":
        body = _flipped(body)
    if fails and bad.kind == "an upload that is cut off":
        return
    status, headers, data = _forward(bad, handler, body)
    if fails and bad.kind == "an upload taken whose answer is lost":
        return
    if fails and bad.kind == "a byte that flips on its way down":
        data = _flipped(data)
    if fails and bad.kind == "lists that come late":  # none of what was written last
        data = re.sub(rb"<Contents>.*?</Contents>", b"", data, count=1, flags=re.DOTALL)
        headers["Content-Length"] = str(len(data))
    if fails and bad.kind == "a download that is cut off":
        _send(handler, status, headers, data, cut=True)
        return
    _send(handler, status, headers, data)


def _forward(bad: BadStore, handler: BaseHTTPRequestHandler, body: bytes) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection(bad.server, timeout=30)
    connection.putrequest(handler.command, handler.path, skip_host=True, skip_accept_encoding=True)
    for name, value in handler.headers.items():  # the signature is over the name that the client called
        if name.lower() not in ("expect", "connection"):
            connection.putheader(name, value)
    connection.endheaders(body or None)
    answer = connection.getresponse()
    return answer.status, dict(answer.getheaders()), answer.read()


def _send(
    handler: BaseHTTPRequestHandler, status: int, headers: dict[str, str], data: bytes, cut: bool = False
) -> None:
    handler.send_response_only(status)
    kept = {name: value for name, value in headers.items() if name.lower() not in ("connection", "transfer-encoding")}
    if handler.command != "HEAD":
        kept["Content-Length"] = str(len(data))
    for name, value in {**kept, "Connection": "close"}.items():
        handler.send_header(name, value)
    handler.end_headers()
    if handler.command != "HEAD":
        handler.wfile.write(data[: len(data) // 2] if cut else data)


def _flipped(data: bytes) -> bytes:
    """The bit that makes another letter of most letters and digits, in the middle."""
    place = len(data) // 2
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :] if data else data
