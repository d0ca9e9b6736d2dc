"""Servers that are processes of this machine: our own, and any other that a command line starts (vLLM, llama.cpp,
SGLang, `transformers serve`). One serves one model, and is found again by the steps after the one that started it."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from components.core.errors import UserError
from components.core.model_files import model_folder
from components.core.processes import end, free_ports
from components.core.progress import say
from components.core.stage import read_manifest
from components.core.store import home
from components.serving.description import endpoint_info
from components.serving.settings import ServingSettings

POLL_INTERVAL_S = 0.1
# What says SIGKILL: of this process's child, of a guard's (its number modulo 256), of a shell's
KILLED = (-signal.SIGKILL, 256 - signal.SIGKILL, 128 + signal.SIGKILL)
INFO_TIMEOUT_S = 5.0


class EmbeddedEngine:
    """Our own server as a process on this machine. It ends by itself when the process SRLM_OWNER_PID is gone."""

    def check(self) -> None:
        """Raises UserError in a step's pod on Kubeflow: it ends, and the server with it, before the next step asks."""
        if os.environ.get("KFP_POD_NAME"):
            raise UserError(
                "a server that is a process of a step ends with it, which on a cluster is at once",
                "Set the parameter engine to vllm, tgi or transformers.",
            )

    def start(self, run: str, name: str, model: str, settings: ServingSettings) -> str:
        """The server that a step before this one started, or a new one once it answers.

        Raises UserError if it ends, or is not ready after `start_timeout`.
        """
        ready_file, digest = _ready_file(run, name), read_manifest(model).digest
        if url := _running(ready_file, digest):
            return url
        self.stop(run, name)
        ready_file.parent.mkdir(parents=True, exist_ok=True)
        options = {"--model-sha": digest, "--ready-file": str(ready_file)}
        if owner := os.environ.get("SRLM_OWNER_PID"):
            options["--owner-pid"] = owner
        log = ready_file.with_suffix(".log")
        with log.open("wb") as output:
            command = self._command(model, name, options, settings)
            process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)
        say(f"serving {name}")
        deadline = time.monotonic() + settings.start_timeout
        while not ready_file.exists():
            if process.poll() is not None:
                lines = log.read_text(errors="replace").strip().splitlines() or ["no output"]
                if process.returncode in KILLED:
                    raise UserError(
                        f"the server of {name} was killed while it started, as the kernel does where memory ends",
                        f"Lower serving.max_batch or serving.max_total_tokens, or free some memory. Its log is {log}.",
                    )
                raise UserError(f"the server of {name} ended at once: {lines[-1]}", f"Its log is {log}.")
            if time.monotonic() > deadline:
                end(process.pid)
                raise UserError(
                    f"{name} was not loaded after {settings.start_timeout} s",
                    f"Raise serving.start_timeout. The server's log is {log}.",
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

    def _command(self, model: str, name: str, options: Mapping[str, str], settings: ServingSettings) -> list[str]:
        """The process to start. It writes the ready file once it serves, and ends when its owner is gone."""
        own = {
            "--model": str(model_folder(model)),
            "--model-id": model,
            "--port": "0",
            "--max-batch": str(settings.max_batch),
            "--dtype": settings.dtype,
            "--max-total-tokens": str(settings.max_total_tokens),
        }
        quantize = {"--quantize": settings.quantize} if settings.quantize else {}
        return [sys.executable, "-m", "components.serving.embedded", *_flat({**own, **quantize, **options})]


class CommandEngine(EmbeddedEngine):
    """Any server that answers as OpenAI's does, started by the recipe's `serving.command`.

    In the command {model} stands for the model's folder, {name} for its name in the run, {port} for the port to listen
    on and {max_total_tokens} for the setting of that name.
    """

    def __init__(self, command: str) -> None:
        self.command = command

    def check(self) -> None:
        """Raises UserError where there is no command, or one that cannot serve a model at a port."""
        super().check()
        if missing := [slot for slot in ("{model}", "{port}") if slot not in self.command]:
            raise UserError(
                f"the engine command needs {' and '.join(missing)} in serving.command, which is {self.command!r}",
                "For example: --set serving.command='vllm serve {model} --port {port} --generation-config vllm'.",
            )

    def _command(self, model: str, name: str, options: Mapping[str, str], settings: ServingSettings) -> list[str]:
        port = free_ports(1)[0]
        slots = {
            "{model}": str(model_folder(model)),
            "{name}": name,
            "{port}": str(port),
            "{max_total_tokens}": str(settings.max_total_tokens),
        }
        parts = shlex.split(self.command)
        for slot, value in slots.items():  # not str.format: a command may hold JSON
            parts = [part.replace(slot, value) for part in parts]
        guard = {**options, "--url": f"http://127.0.0.1:{port}"}
        return [sys.executable, "-m", "components.serving.engines.guard", *_flat(guard), "--", *parts]


def _running(ready_file: Path, digest: str) -> str:
    """The URL of the server that wrote the file, if it still serves the model of this digest; "" else."""
    if not ready_file.exists():
        return ""
    server = json.loads(ready_file.read_text())
    with suppress(UserError):
        endpoint_info(str(server["url"]), timeout=INFO_TIMEOUT_S)
        return str(server["url"]) if server.get("model_sha") == digest else ""
    return ""


def _ready_file(run: str, name: str) -> Path:
    """Written by the server once it answers, {"pid": ..., "url": ..., "model_sha": ...}."""
    return home() / "servers" / run / f"{name}.json"


def _flat(options: Mapping[str, str]) -> list[str]:
    return [part for option in options.items() for part in option]
