"""An API server that answers as a test says, over real HTTP, with a kubeconfig that names it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, Protocol

import pytest
import yaml

from tests.helpers.http_server import http_server


class Api(Protocol):
    """What a test scripts."""

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        """Status and answer (text, or JSON) of a request; 0 hangs up. `path` has its query."""


@contextmanager
def serving(api: Api, kubeconfig: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Serve what `api` answers, and point KUBECONFIG at it; the namespace is `runs`."""

    class Handler(BaseHTTPRequestHandler):
        def _do(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            status, answer = api.answer(self.command, self.path, json.loads(self.rfile.read(length) or b"{}"))
            if not status:
                self.close_connection = True
                return
            text = answer if isinstance(answer, str) else json.dumps(answer)
            self.send_response(status)
            self.send_header("Content-Type", "text/plain" if isinstance(answer, str) else "application/json")
            self.end_headers()
            self.wfile.write(text.encode())

        do_GET = do_POST = do_DELETE = do_PATCH = _do  # noqa: N815

        def log_message(self, *_: Any) -> None:
            """Nothing: pytest shows what matters."""

    with http_server(Handler) as url:
        here = {"name": "here", "cluster": {"server": url}}
        used = {"name": "here", "context": {"cluster": "here", "user": "me", "namespace": "runs"}}
        user = {"name": "me", "user": {}}
        config = {"clusters": [here], "contexts": [used], "users": [user], "current-context": "here"}
        kubeconfig.write_text(yaml.safe_dump(config))
        monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
        yield
