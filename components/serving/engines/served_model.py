"""The server of one model of a run: started or found when the first question is to be asked, stopped after the last."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

from components.core.context import RunContext
from components.core.ledger import hold
from components.core.looking import looking
from components.kubernetes.settings import ClusterSettings
from components.serving.address import ANNOTATOR_KEY, JUDGE_KEY, Address, address_of
from components.serving.description import endpoint_info
from components.serving.embedded.model.quantize import require_known
from components.serving.engines.engine import Engine, open_engine
from components.serving.kubernetes.launch import LAUNCHES
from components.serving.settings import ServingSettings


@dataclass(frozen=True)
class ServedModel:
    """A model that several steps ask. Who calls it gets its endpoint; where nothing is left to ask, nobody calls.

    So a run that finds its work finished starts no server, and a step that is tried again finds the server or makes
    another. `name` (m1, sft, writer, ...) tells the run's servers apart, `model` is the URI of the model's stage.
    """

    context: RunContext
    name: str
    model: str

    def __call__(self) -> Address:
        """Where it is served. Raises UserError with the reason where it cannot be."""
        settings = self.context.section("serving", ServingSettings)
        started = engine_of(self.context).start(self.context.run, self.name, self.model, settings)
        address = replace(address_of(started), patience=settings.patience)
        if self.context.engine in LAUNCHES:
            hold(settings.pod.gpus * settings.replicas)
        elif self.context.engine == "embedded":
            on_gpu = endpoint_info(address).get("model_device_type") == "cuda"
            hold(int(on_gpu), cores=None if on_gpu else os.cpu_count())
        return address

    def stop(self) -> None:
        """Free what the server holds; there may be none."""
        if not looking():
            engine_of(self.context).stop(self.context.run, self.name)


def engine_of(context: RunContext) -> Engine:
    """What serves the models of a run."""
    return open_engine(
        context.engine,
        context.endpoint,
        context.section("serving", ServingSettings).command,
        settings=context.section("cluster", ClusterSettings),
        worker_image=context.worker_image,
        engine_image=context.engine_image,
    )


def check_quantize(context: RunContext) -> None:
    """Raises UserError where our own server is to serve in a precision that it does not have.

    Whether this machine's CPU or GPU fits is known when a server starts.
    """
    settings = context.section("serving", ServingSettings)
    if context.engine in ("embedded", "transformers"):
        on_gpus = context.engine == "transformers" and settings.pod.gpus > 0
        require_known(settings.quantize, settings.dtype, on_gpus)


def judge_of(context: RunContext) -> Address | None:
    """Another judge than the policy, None where the policy judges itself."""
    if not context.judge_endpoint:
        return None
    settings = context.section("serving", ServingSettings)
    model, arguments = context.judge_model or settings.judge_model, tuple(settings.judge_template_kwargs.items())
    return Address(context.judge_endpoint, model, JUDGE_KEY, settings.patience, arguments)


def annotator_of(context: RunContext) -> Address | None:
    """An annotator that is there already, None where the run serves one."""
    if not context.annotator_endpoint:
        return None
    settings = context.section("serving", ServingSettings)
    model = context.annotator_model or settings.annotator_model
    arguments = tuple(settings.annotator_template_kwargs.items())
    return Address(context.annotator_endpoint, model, ANNOTATOR_KEY, settings.patience, arguments)
