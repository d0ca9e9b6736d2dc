"""What stands before a server in companies: TLS by an authority of their own, and a login.

Also a program that needs no packages, for a pod: login.py PORT CERTIFICATE TARGET HEADER VALUE
"""

from __future__ import annotations

import base64
import http.client
import ssl
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

PASSED = ("authorization", "content-type", "content-encoding", "accept", "accept-encoding")


def basic(user: str, password: str) -> tuple[str, str]:
    """The header of HTTP's basic authentication."""
    return "Authorization", f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"


def login_server(address: tuple[str, int], certificate: str, target: str, header: str, value: str) -> HTTPServer:
    """Hands on the requests of who shows this header, with the target's own host name."""

    class Handler(BaseHTTPRequestHandler):
        def forward(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, headers, data = self.ask(body)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def ask(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
            if self.headers.get(header) != value:
                return 401, {"Content-Type": "text/plain"}, b"You are not authenticated."
            passed = {name: self.headers[name] for name in PASSED if name in self.headers}
            connection = http.client.HTTPConnection(urlsplit(target).netloc, timeout=300)
            connection.request(self.command, self.path, body, passed)
            answer = connection.getresponse()
            kind = {"Content-Type": answer.getheader("Content-Type", "application/octet-stream")}
            return answer.status, kind, answer.read()

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = forward  # noqa: N815  as http.server looks for them

        def log_message(self, *_: object) -> None: ...

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None: ...  # a client that does not trust us hangs up

    server = Server(address, Handler)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    # the handshake in the request's own thread: one client that does not trust us must not hold the others up
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    return server


@contextmanager
def behind_login(target: str, certificate: Path, login: tuple[str, str]) -> Iterator[str]:
    """The address of a server behind a login, for as long as the context lasts."""
    from tests.helpers.http_server import running  # not in a pod

    with running(login_server(("127.0.0.1", 0), str(certificate), target, *login)) as place:
        yield f"https://{place}"


if __name__ == "__main__":
    login_server(("0.0.0.0", int(sys.argv[1])), *sys.argv[2:]).serve_forever()
