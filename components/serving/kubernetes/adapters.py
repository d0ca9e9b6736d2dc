"""`python -m components.serving.kubernetes.adapters URI`: beside vLLM in its pod, which serves the model URI, brings it
adapters of models that were trained from that one, as the run's steps ask for them (issue 17).

vLLM takes a path in its pod or a name of Hugging Face's; this takes the URI of a model alone, and has the keys of the
store, which the server has not.
"""

from __future__ import annotations

import json
import sys
import threading
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from components.core.errors import UserError
from components.core.model_files import adapter_folder, base_of, require_digest
from components.core.progress import say
from components.core.stage import read_manifest
from components.core.step import report_errors
from components.serving.kubernetes.launch import ADAPTERS_PORT, PORT
from components.serving.kubernetes.manifests import require_fetchable

MOST_BYTES = 4096  # of a request
TIMEOUT_S = 300.0  # for vLLM to read an adapter, busy as it may be


@dataclass(frozen=True)
class Adapters:
    """What is loaded into the server at `url`, which serves the model `base`."""

    base: str
    url: str = f"http://127.0.0.1:{PORT}"
    _one_at_a_time: threading.Lock = field(default_factory=threading.Lock)

    def load(self, model: str) -> str:
        """The name by which the server answers as `model`, its digest: a name of its own for each content, as vLLM
        keeps what it has read of prompts by names.

        What is loaded already stays. Raises UserError where `model` was not trained from the base by LoRA, or where its
        manifest was changed.
        """
        require_fetchable(model)
        if (found := base_of(model)) != self.base:
            raise UserError(f"{model} changes the weights of {found}, and here is {self.base}", "Ask its own server.")
        name = read_manifest(model).digest
        require_digest(model, name)
        with self._one_at_a_time:
            if name not in {one["id"] for one in self._ask("/v1/models")["data"]}:
                folder = adapter_folder(model)
                say(f"loading the adapter of {model}")
                self._ask("/v1/load_lora_adapter", {"lora_name": name, "lora_path": str(folder)})
        return name

    def _ask(self, route: str, body: dict[str, str] | None = None) -> dict[str, Any]:
        data = json.dumps(body).encode() if body else None
        request = urllib.request.Request(self.url + route, data, {"Content-Type": "application/json"})  # noqa: S310
        try:
            text = _sent(request)
        except urllib.error.HTTPError as error:
            said = error.read(2000).decode(errors="replace")
            remedy = "Its log says more; serving.adapter_rank is the largest rank that it takes."
            raise UserError(f"the server does not load the adapter: {said}", remedy) from error
        except OSError as error:
            raise UserError(f"the server does not answer ({error})", "Its log says why.") from error
        answered: dict[str, Any] = {} if body else json.loads(text)
        return answered


class Handler(BaseHTTPRequestHandler):
    """GET /health; POST /adapters {"model": URI} answers {"name": ...}, or 409 {"problem": ..., "remedy": ...}."""

    adapters: Adapters

    def do_GET(self) -> None:
        self._answer(200 if self.path == "/health" else 404, {})

    def do_POST(self) -> None:
        try:
            length = min(int(self.headers.get("Content-Length") or 0), MOST_BYTES)
            model = str(json.loads(self.rfile.read(length))["model"])
        except (ValueError, KeyError, TypeError):
            return self._answer(400, {})
        try:
            return self._answer(200, {"name": self.adapters.load(model)})
        except UserError as error:
            return self._answer(409, {"problem": error.problem, "remedy": error.remedy})

    def _answer(self, status: int, body: dict[str, str]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """A probe every five seconds is nothing to tell."""


def ask_for_adapter(url: str, model: str) -> None:
    """Have the server of the pod at `url` load a model's adapter. Raises UserError where it does not."""
    data = json.dumps({"model": model}).encode()
    request = urllib.request.Request(f"{url}/adapters", data, {"Content-Type": "application/json"})  # noqa: S310
    try:
        _sent(request)
    except urllib.error.HTTPError as error:
        said = json.loads(error.read(MOST_BYTES) or b"{}")
        told = said.get("problem", f"HTTP {error.code}"), said.get("remedy", "The log of its pod says more.")
        raise UserError(*told) from error
    except OSError as error:
        raise UserError(
            f"the pod at {url} does not take an adapter ({error})",
            f"Check that pods of this namespace may reach its port {ADAPTERS_PORT} (NetworkPolicy), then run again.",
        ) from error


def _sent(request: urllib.request.Request) -> bytes:
    """The answer. No proxy of the environment stands between pods."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(request, timeout=TIMEOUT_S) as response:
        answered: bytes = response.read()
    return answered


def server(adapters: Adapters, port: int) -> ThreadingHTTPServer:
    """Answers at the port once it is told to serve."""
    return ThreadingHTTPServer(("", port), type("Bound", (Handler,), {"adapters": adapters}))


def main() -> None:
    """Answers until the pod ends."""
    with report_errors("adapters"):
        server(Adapters(sys.argv[1]), ADAPTERS_PORT).serve_forever()


if __name__ == "__main__":
    main()
