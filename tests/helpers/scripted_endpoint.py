"""A real HTTP server with answers as told: an endpoint, a judge or an annotator whose mind is known."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.helpers.http_server import http_server


class Script:
    """Answers by a function of (how often this server was asked, the request's body): a status, a body (an object, or
    the text itself) and, where there are any, headers. `routes` are what its GET routes answer with status 200, or what
    makes it.

    `bodies` and `headers` are those of the questions, `asked` method, path and headers of every request.
    """

    def __init__(self, answer: Callable[[int, dict[str, Any]], Any], routes: dict[str, Any] | None = None) -> None:
        self.answer, self.busy, self.most_busy = answer, 0, 0
        self.bodies: list[dict[str, Any]] = []
        self.routes = {"/info": {"model_id": "script"}} if routes is None else routes
        self.headers: list[dict[str, str]] = []
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        self.lock = threading.Lock()


def says(answer: Callable[[str], str]) -> Script:
    """A model that answers each prompt (its last message's text) by a function."""
    return Script(lambda _, body: said(answer(body["messages"][-1]["content"])))


def said(
    text: str, finish_reason: str = "stop", logprobs: Sequence[tuple[str, float]] | None = None
) -> tuple[int, dict[str, Any]]:
    """An answer; `logprobs` are (token, log-probability) of the likeliest first tokens."""
    choice = {"index": 0, "finish_reason": finish_reason, "message": {"role": "assistant", "content": text}}
    if logprobs is not None:
        choice["logprobs"] = {"content": [_first_token(text, logprobs)]}
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    return 200, {"id": "", "created": 0, "model": "m", "system_fingerprint": "", "choices": [choice], "usage": usage}


def _first_token(text: str, logprobs: Sequence[tuple[str, float]]) -> dict[str, Any]:
    likeliest = [{"token": token, "logprob": logprob} for token, logprob in logprobs]
    return {"token": text, "logprob": dict(logprobs).get(text, -9.0), "top_logprobs": likeliest}


@contextmanager
def served(script: Script) -> Iterator[str]:
    """The URL of a server that follows the script while the context lasts."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            script.asked.append(("GET", self.path, dict(self.headers)))
            answer = script.routes.get(self.path)
            self.reply(*((404, {}) if answer is None else (200, answer() if callable(answer) else answer)))

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with script.lock:
                script.asked.append(("POST", self.path, dict(self.headers)))
                script.bodies.append(body)
                script.headers.append(dict(self.headers))
                script.busy += 1
                script.most_busy = max(script.most_busy, script.busy)
                number = len(script.bodies)
            reply = script.answer(number, body)
            with script.lock:
                script.busy -= 1
            self.reply(*reply)

        def reply(self, status: int, answer: Any, headers: dict[str, str] | None = None) -> None:
            data = (answer if isinstance(answer, str) else json.dumps(answer)).encode()
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None: ...

    with http_server(Handler) as url:
        yield url
