"""A real HTTP server of a test, for as long as a context lasts."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import BaseServer

POLL_S = 0.02  # every test that ends a server waits for so long; serve_forever's own is half a second


class HttpServer(ThreadingHTTPServer):
    """On a free port of this machine."""

    request_queue_size = 128  # with the usual 5, some of many callers that come at once wait a second

    def __init__(self, handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(("127.0.0.1", 0), handler)


@contextmanager
def running(server: BaseServer) -> Iterator[str]:
    """`127.0.0.1:PORT` of a server that is bound and now answers."""
    threading.Thread(target=server.serve_forever, args=(POLL_S,), daemon=True).start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def http_server(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """The URL of a server whose requests the handler answers."""
    with running(HttpServer(handler)) as place:
        yield f"http://{place}"
