"""One address before several servers, as a Service of Kubernetes is: each connection goes to the next of them."""

from __future__ import annotations

import itertools
import socket
import socketserver
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

from tests.helpers.http_server import running

CHUNK_BYTES = 65536


class Balancer:
    """`urls` are the servers that connections go to, `lost` those whose connections break; both may be changed, which
    connections notice at once. `connections` counts those of each server."""

    def __init__(self, urls: list[str]) -> None:
        self.url, self.urls, self.lost = "", urls, set[str]()
        self.connections, self.turn, self.open = Counter[str](), itertools.count(), list[socket.socket]()

    def lead_to(self, *urls: str) -> None:
        """Other servers from now on: what is open ends."""
        self.urls = list(urls)
        self.cut()

    def cut(self) -> None:
        """Break all connections."""
        while self.open:
            with suppress(OSError):
                self.open.pop().shutdown(socket.SHUT_RDWR)


@contextmanager
def balanced(*urls: str) -> Iterator[Balancer]:
    """An address before the servers, for as long as the context lasts."""
    balancer = Balancer(list(urls))

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            url = balancer.urls[next(balancer.turn) % len(balancer.urls)]
            balancer.connections[url] += 1
            place = urlsplit(url)
            if url in balancer.lost or not place.hostname:
                return
            with socket.create_connection((place.hostname, place.port or 80)) as server:
                balancer.open += [self.request, server]
                there = threading.Thread(target=pass_on, args=(self.request, server), daemon=True)
                there.start()
                pass_on(server, self.request)
                there.join()

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads, request_queue_size = True, 128

    with running(Server(("127.0.0.1", 0), Handler)) as place:
        balancer.url = f"http://{place}"
        try:
            yield balancer
        finally:
            balancer.cut()


def pass_on(source: socket.socket, target: socket.socket) -> None:
    """All that comes, until one of them ends."""
    with suppress(OSError):
        while piece := source.recv(CHUNK_BYTES):
            target.sendall(piece)
    for end in (source, target):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
