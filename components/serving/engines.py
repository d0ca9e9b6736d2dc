"""Where a server comes from: `embedded` (a process on this machine), `endpoint` (a URL that is already there), or a
Deployment on Kubernetes of `transformers` (our own server), `tgi` or `vllm`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Protocol

from components.core.errors import UserError
from components.core.model_files import model_folder
from components.core.processes import end
from components.core.progress import say
from components.core.stage import read_manifest
from components.core.store import home
from components.serving.client import endpoint_info
from components.serving.kubernetes.launch import LAUNCHES
from components.serving.settings import ServingSettings


class Engine(Protocol):
    """Starts and stops the servers of a run. Every verb may be called again without harm."""

    def check(self) -> None:
        """Raises UserError when it is clear before any work that the engine cannot serve."""

    def start(self, run: str, name: str, model: str, settings: ServingSettings) -> str:
        """Serve the model stage `model` under the name `name`; returns the endpoint's URL."""

    def stop(self, run: str, name: str = "") -> None:
        """Stop the server of one model, or all of the run's."""


class EmbeddedEngine:
    """A process on this machine. It ends by itself when the process SRLM_OWNER_PID is gone."""

    def check(self) -> None:
        """Raises UserError in a step's pod on Kubeflow: it ends, and the server with it, before the next step asks."""
        if os.environ.get("KFP_POD_NAME"):
            raise UserError(
                "the embedded engine serves from the process of a step, which on a cluster ends at once",
                "Set the parameter engine to tgi, vllm or transformers.",
            )

    def start(self, run: str, name: str, model: str, settings: ServingSettings) -> str:
        self.stop(run, name)
        state = _state_file(run, name)
        state.parent.mkdir(parents=True, exist_ok=True)
        log = state.with_suffix(".log")
        with log.open("wb") as output:
            process = subprocess.Popen(
                _command(model, state, settings), stdout=output, stderr=output, start_new_session=True
            )
        say(f"serving {name}")
        deadline = time.monotonic() + settings.start_timeout
        while not state.exists():
            if process.poll() is not None:
                raise UserError(f"the embedded engine ended at once: {_last_line(log)}", f"Its log is {log}.")
            if time.monotonic() > deadline:
                process.kill()
                raise UserError(
                    f"{name} was not loaded after {settings.start_timeout} s", "Raise serving.start_timeout."
                )
            time.sleep(0.1)
        return str(json.loads(state.read_text())["url"])

    def stop(self, run: str, name: str = "") -> None:
        files = [_state_file(run, name)] if name else sorted(_state_file(run, "x").parent.glob("*.json"))
        for state in files:
            if state.exists():
                _end(json.loads(state.read_text()))
                state.unlink(missing_ok=True)


class EndpointEngine:
    """A URL that somebody else serves; `{model}` in it stands for the model's name (sft, m1, ...)."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint

    def check(self) -> None:
        if "{model}" not in self.endpoint:  # servers of models that are still to be made come later
            endpoint_info(self.endpoint)

    def start(self, run: str, name: str, model: str, settings: ServingSettings) -> str:
        url = self.endpoint.replace("{model}", name)
        info, digest = endpoint_info(url), read_manifest(model).digest
        if info.get("model_sha") != digest and model not in str(info.get("model_id")):
            raise UserError(
                f"the endpoint {url} serves {info.get('model_id')!r}, but {name} is {model} (digest {digest})",
                "Start a server for that model there (/info names it by URI or digest), or use the embedded engine.",
            )
        return url

    def stop(self, run: str, name: str = "") -> None:
        """Not ours to stop."""


def open_engine(engine: str, endpoint: str = "", **on_kubernetes: Any) -> Engine:
    """The engine of that name; `on_kubernetes` are KubernetesEngine's fields. Raises UserError for an unknown name."""
    if engine == "embedded":
        return EmbeddedEngine()
    if engine == "endpoint":
        if not endpoint:
            raise UserError("engine endpoint needs a URL", "Give it with --endpoint http://host:port.")
        return EndpointEngine(endpoint)
    if engine in LAUNCHES:
        from components.serving.kubernetes.engine import KubernetesEngine

        return KubernetesEngine(engine, **on_kubernetes)
    raise UserError(f"there is no engine {engine!r}", f"Use embedded, endpoint, {', '.join(LAUNCHES)}.")


def _command(model: str, state: Path, settings: ServingSettings) -> list[str]:
    options = {
        "--model": str(model_folder(model)),
        "--model-id": model,
        "--model-sha": read_manifest(model).digest,
        "--port": "0",
        "--ready-file": str(state),
        "--max-batch": str(settings.max_batch),
        "--dtype": settings.dtype,
        "--max-total-tokens": str(settings.max_total_tokens),
    }
    if owner := os.environ.get("SRLM_OWNER_PID"):
        options["--owner-pid"] = owner
    return [sys.executable, "-m", "components.serving.embedded", *(part for pair in options.items() for part in pair)]


def _state_file(run: str, name: str) -> Path:
    return home() / "servers" / run / f"{name}.json"


def _end(state: dict[str, object]) -> None:
    """Stop the process if it still is the server that wrote the state (process numbers are used again)."""
    try:
        endpoint_info(str(state["url"]), timeout=5)
    except UserError:
        return
    end(int(str(state["pid"])))


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "no output"
