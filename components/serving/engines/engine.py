"""Where a server comes from: `embedded` (a process on this machine), `endpoint` (a URL that is already there), or a
Deployment on Kubernetes of `transformers` (our own server), `tgi` or `vllm`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import suppress
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

POLL_INTERVAL_S = 0.1
INFO_TIMEOUT_S = 5.0


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
        """The server that a step before this one started, or a new one once it answers.

        Raises UserError if it ends, or is not ready after `start_timeout`.
        """
        ready_file = _ready_file(run, name)
        if url := _running(ready_file, read_manifest(model).digest):
            return url
        self.stop(run, name)
        ready_file.parent.mkdir(parents=True, exist_ok=True)
        log = ready_file.with_suffix(".log")
        command = _command(model, ready_file, settings)
        with log.open("wb") as output:
            process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)
        say(f"serving {name}")
        deadline = time.monotonic() + settings.start_timeout
        while not ready_file.exists():
            if process.poll() is not None:
                lines = log.read_text(errors="replace").strip().splitlines() or ["no output"]
                raise UserError(f"the embedded engine ended at once: {lines[-1]}", f"Its log is {log}.")
            if time.monotonic() > deadline:
                process.kill()
                raise UserError(
                    f"{name} was not loaded after {settings.start_timeout} s", "Raise serving.start_timeout."
                )
            time.sleep(POLL_INTERVAL_S)
        return str(json.loads(ready_file.read_text())["url"])

    def stop(self, run: str, name: str = "") -> None:
        """A process that no longer answers is left alone: its number may by now be another's."""
        files = [_ready_file(run, name)] if name else sorted(_ready_file(run, "x").parent.glob("*.json"))
        for ready_file in files:
            if not ready_file.exists():
                continue
            server = json.loads(ready_file.read_text())
            with suppress(UserError):
                endpoint_info(str(server["url"]), timeout=INFO_TIMEOUT_S)
                end(int(server["pid"]))
            ready_file.unlink(missing_ok=True)


class EndpointEngine:
    """A URL that somebody else serves; `{model}` in it stands for the model's name (m0, sft, m1, ...)."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint

    def check(self) -> None:
        if "{model}" not in self.endpoint:  # servers of models that are still to be made come later
            endpoint_info(self.endpoint)

    def start(self, run: str, name: str, model: str, settings: ServingSettings) -> str:
        """Raises UserError when another model is served there than the stage `model`."""
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


def _running(ready_file: Path, digest: str) -> str:
    """The URL of the server that wrote the file, if it still serves the model of this digest; "" else."""
    if not ready_file.exists():
        return ""
    url = str(json.loads(ready_file.read_text())["url"])
    with suppress(UserError):
        return url if endpoint_info(url, timeout=INFO_TIMEOUT_S).get("model_sha") == digest else ""
    return ""


def _command(model: str, ready_file: Path, settings: ServingSettings) -> list[str]:
    options = {
        "--model": str(model_folder(model)),
        "--model-id": model,
        "--model-sha": read_manifest(model).digest,
        "--port": "0",
        "--ready-file": str(ready_file),
        "--max-batch": str(settings.max_batch),
        "--dtype": settings.dtype,
        "--max-total-tokens": str(settings.max_total_tokens),
    }
    if owner := os.environ.get("SRLM_OWNER_PID"):
        options["--owner-pid"] = owner
    return [sys.executable, "-m", "components.serving.embedded", *(part for pair in options.items() for part in pair)]


def _ready_file(run: str, name: str) -> Path:
    """Written by the server once it answers, {"pid": ..., "url": ...}."""
    return home() / "servers" / run / f"{name}.json"
