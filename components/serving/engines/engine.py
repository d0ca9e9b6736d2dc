"""Where a server comes from: `embedded` or `command` (a process on this machine), `endpoint` (a URL that is already
there), or a Deployment on Kubernetes of `transformers` (our own server), `tgi` or `vllm`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Protocol

from components.core.errors import UserError
from components.core.stage import read_manifest
from components.serving.address import ENDPOINT_KEY, Address
from components.serving.description import endpoint_info
from components.serving.engines.processes import CommandEngine, EmbeddedEngine
from components.serving.kubernetes.launch import LAUNCHES
from components.serving.settings import ServingSettings


class Engine(Protocol):
    """Starts and stops the servers of a run. Every verb may be called again without harm."""

    def check(self) -> None:
        """Raises UserError when it is clear before any work that the engine cannot serve."""

    def start(self, run: str, name: str, model: str, settings: ServingSettings) -> str | Address:
        """Serve the model stage `model` under the name `name`; returns where. A URL alone is the run's own server."""

    def stop(self, run: str, name: str = "") -> None:
        """Stop the server of one model, or all of the run's."""


class EndpointEngine:
    """A URL that somebody else serves; `{model}` in it stands for the model's name (m0, sft, m1, ...)."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint

    def check(self) -> None:
        if "{model}" not in self.endpoint:  # servers of models that are still to be made come later
            endpoint_info(self._address(""))

    def start(self, run: str, name: str, model: str, settings: ServingSettings) -> Address:
        """Raises UserError when no model there is the stage `model`, by its URI or digest."""
        address = self._address(name)
        info, digest = endpoint_info(address), read_manifest(model).digest
        found = next((served for served in info["models"] if model in str(served) or digest in str(served)), None)
        if info.get("model_sha") != digest and found is None:
            served = ", ".join(map(repr, info["models"])) or "no model that it names"
            raise UserError(
                f"the endpoint {address.shown} serves {served}, but {name} is {model} (digest {digest})",
                "Start a server for that model there (/info or /v1/models names it by URI or digest), or use the "
                "embedded engine.",
            )
        return replace(address, model=str(found or info["model_id"]) if info.get("listed", True) else "")

    def _address(self, name: str) -> Address:
        return Address(self.endpoint.replace("{model}", name), key_variable=ENDPOINT_KEY)

    def stop(self, run: str, name: str = "") -> None:
        """Not ours to stop."""


def open_engine(engine: str, endpoint: str = "", command: str = "", **on_kubernetes: Any) -> Engine:
    """The engine of that name; `on_kubernetes` are KubernetesEngine's fields. Raises UserError for an unknown name."""
    if engine == "embedded":
        return EmbeddedEngine()
    if engine == "command":
        return CommandEngine(command)
    if engine == "endpoint":
        if not endpoint:
            raise UserError("engine endpoint needs a URL", "Give it with --endpoint http://host:port.")
        return EndpointEngine(endpoint)
    if engine in LAUNCHES:
        from components.serving.kubernetes.engine import KubernetesEngine

        return KubernetesEngine(engine, **on_kubernetes)
    raise UserError(f"there is no engine {engine!r}", f"Use embedded, command, endpoint, {', '.join(LAUNCHES)}.")
