"""Servers on Kubernetes: a Deployment and a Service for each model, made, waited for and removed by the run's steps."""

from __future__ import annotations

import os
import time
import urllib.request
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from components.core.errors import UserError
from components.core.images import WORKER
from components.core.model_files import base_of
from components.core.progress import say, warn
from components.core.proxies import ask_directly
from components.core.stage import read_manifest
from components.kubernetes.client import Cluster, connect, in_a_pod
from components.kubernetes.objects import apply, owner_of_this_step
from components.kubernetes.removal import remove_servers
from components.kubernetes.settings import ClusterSettings
from components.serving.address import Address
from components.serving.kubernetes.adapters import ask_for_adapter
from components.serving.kubernetes.launch import ADAPTERS_PORT, MODEL, PORT, ServedModel
from components.serving.kubernetes.manifests import Server, deployment, require_fetchable, service
from components.serving.kubernetes.readiness import is_ready, replica_urls, wait_until_ready

if TYPE_CHECKING:
    from components.serving.settings import ServingSettings

SERVICE_TIMEOUT_S = 120.0  # for a Service to find its pods
REQUEST_TIMEOUT_S = 10.0
POLL_INTERVAL_S = 0.5


@dataclass
class KubernetesEngine:
    """Deployments of one engine: transformers (our own server), tgi or vllm."""

    engine: str
    settings: ClusterSettings = field(default_factory=ClusterSettings)
    worker_image: str = ""
    engine_image: str = ""
    _connected: Cluster | None = None

    @property
    def cluster(self) -> Cluster:
        self._connected = self._connected or connect(patience=self.settings.patience)
        return self._connected

    def check(self) -> None:
        """Raises UserError where this process is no pod: the servers' names resolve in the cluster alone."""
        if not in_a_pod():
            raise UserError(
                f"the engine {self.engine} makes servers that only pods of the cluster can ask",
                "Let the cluster run it: srlm manifests RECIPE --runner job | kubectl create -f -; "
                "or serve here with --engine embedded.",
            )

    def start(self, run: str, name: str, model: str, settings: ServingSettings) -> Address:
        """Applying the same again changes nothing, so a server that is ready already is used.

        One that is not may have failed for a reason that is gone: it starts anew. With `serving.adapter_rank` a model
        that is an adapter comes to the server of its base, whose name no step stops: it goes when the run ends. Others
        have servers of their own, with room for none.
        """
        base = self._base(model, settings)
        if base != model:
            say(f"serving {name} as an adapter of {base}")
            return self._serve(self._server(run, f"base-{read_manifest(base).digest[:8]}", base, settings), model)
        alone = settings.model_copy(update={"adapter_rank": 0})
        return self._serve(self._server(run, name, model, alone))

    def _serve(self, server: Server, adapted: str = "") -> Address:
        """Where the server answers, as the model `adapted` that comes to it, if one does."""
        if not is_ready(self.cluster, server):
            remove_servers(self.cluster, server.run, server.name)
        say(f"serving {server.name} as Deployment {server.object_name}")
        apply(self.cluster, service(server, server.metadata))
        apply(self.cluster, deployment(server))
        wait_until_ready(self.cluster, server)
        url = f"http://{server.object_name}.{self.cluster.namespace}.svc:{PORT}"
        if in_a_pod():
            _until_it_answers(url)
        self._load_adapter(server, adapted)
        several = (lambda: replica_urls(self.cluster, server)) if server.settings.replicas > 1 else None
        known_as = read_manifest(adapted).digest if adapted else ""
        return Address(url, known_as, revive=lambda: self._revive(server, adapted), replicas=several)

    def _base(self, model: str, settings: ServingSettings) -> str:
        """The model whose server answers as `model`: itself where it is none of LoRA, or adapters are not asked for."""
        if not settings.adapter_rank:
            return model
        if self.engine != "vllm":
            raise UserError(
                f"the engine {self.engine} loads no adapters into a server that runs",
                "Set serving.adapter_rank to 0, or take --engine vllm.",
            )
        return base_of(model)

    def _load_adapter(self, server: Server, model: str) -> None:
        """At each replica; what one has already stays. "" is none."""
        for url in replica_urls(self.cluster, server, ADAPTERS_PORT) if model else ():
            ask_for_adapter(url, model)

    def _revive(self, server: Server, adapted: str) -> bool:
        """A pod that was evicted, preempted or lost has another in its place: its Deployment's matter, not ours. The
        adapter is ours: a vLLM that started again has none."""
        gone = not is_ready(self.cluster, server)
        if gone:
            warn(f"{server.name} does not answer: it is waited for as long as it may take to start")
            wait_until_ready(self.cluster, server, again=True)
        self._load_adapter(server, adapted)
        if gone:
            say(f"{server.name} is there again")
        return gone

    def stop(self, run: str, name: str = "") -> None:
        remove_servers(self.cluster, run, name)

    def _server(self, run: str, name: str, model: str, settings: ServingSettings) -> Server:
        require_fetchable(model)
        manifest = read_manifest(model)
        return Server(
            run=run,
            name=name,
            engine=self.engine,
            model=ServedModel(model, manifest.digest, MODEL, manifest.size),
            settings=settings,
            cluster=self.settings,
            worker_image=self.worker_image or os.environ.get("SRLM_WORKER_IMAGE") or WORKER,
            engine_image=self.engine_image or os.environ.get(f"SRLM_{self.engine.upper()}_IMAGE", ""),
            owner=owner_of_this_step(self.cluster),
        )


def _until_it_answers(url: str) -> None:
    """A Service finds its pods a moment after they are ready."""
    ask_directly(url)
    deadline = time.monotonic() + SERVICE_TIMEOUT_S
    while True:
        try:
            urllib.request.urlopen(f"{url}/health", timeout=REQUEST_TIMEOUT_S).close()  # noqa: S310
            return
        except OSError as error:
            if time.monotonic() > deadline:
                raise UserError(
                    f"the server's pods are ready, but its Service {url} does not answer ({error})",
                    "Check that pods of this namespace may reach each other (NetworkPolicy), then run again.",
                ) from error
        time.sleep(POLL_INTERVAL_S)
