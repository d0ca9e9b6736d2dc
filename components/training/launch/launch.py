"""Where a stage is trained: in this process, in one for each GPU of this node, or on several nodes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from components.core.context import RunContext, open_step
from components.core.ledger import spent
from components.core.records import Manifest
from components.core.stage import read_manifest
from components.kubernetes.settings import ClusterSettings, TrainingPods
from components.registry.curve import Training, logged_curve
from components.serving.engines.served_model import judge_of
from components.training.distributed import require_gpus
from components.training.launch.logs import Log, ending_with_this_process
from components.training.launch.request import TORCHRUN, WORKER, TrainingRequest

END_TIMEOUT_S = 30.0  # for torchrun to end its workers


def train_model(run: str, name: str, kind: str, inputs: dict[str, str]) -> str:
    """Make the stage `kind` (sft or dpo) of the model `name`; returns its URI. `inputs` are URIs by role."""
    with open_step(run, f"train {name.upper()}") as context:
        settings = context.recipe[kind]
        if kind == "dpo":
            settings, besides = _of_round(context, settings, int(name[1:]) - 1)
            inputs = inputs | besides
        request = TrainingRequest(kind=kind, root=context.store, settings=settings, inputs=inputs)
        pods = (context.recipe["resources"], context.recipe["cluster"], context.trainer_image)

        def make() -> Manifest:
            training = Training(context.recipe["name"], context.run, name, request.stage().uri)
            with logged_curve(context.tracking_uri, training):
                return train_stage(request, *pods, context.run, name)

        return context.make(f"{name}/{kind}", make)


def _of_round(context: RunContext, settings: dict[str, Any], number: int) -> tuple[dict[str, Any], dict[str, str]]:
    """DPO's settings in one round (counted from 1), and what it reads beside the model and its pairs.

    M1 has no model before it that DPO made it of.
    """
    besides: dict[str, str] = {}
    if settings.get("self_consistency"):
        settings = settings | {"self_consistency": number > 1}
        besides["previous"] = context.state(f"m{number - 1}")["model"] if number > 1 else ""
    if judge := judge_of(context):
        arguments = json.dumps(judge.template_arguments) if judge.template_arguments else ""
        besides |= {"judge_endpoint": judge.url, "judge_model": judge.model, "judge_arguments": arguments}
    return settings, {role: value for role, value in besides.items() if value}


def train_stage(
    request: TrainingRequest, pods: Mapping[str, Any], cluster: Mapping[str, Any], image: str, run: str, model: str
) -> Manifest:
    """Make the stage that is asked for, with what the recipe's `resources` name; what is finished is found first.

    `image`, `cluster`, `run` and `model` are for several nodes: there the step itself only follows a TrainJob.
    """
    stage = request.stage()
    if stage.manifest:
        return stage.manifest
    wanted = TrainingPods(**pods)
    request = request.on(wanted.nodes * max(1, wanted.gpus), wanted.gpus)
    if wanted.nodes > 1:
        from components.training.launch.disk import bytes_to_train
        from components.training.launch.follow import follow
        from components.training.launch.trainjob import TrainJob

        trained = request.inputs["base" if request.kind == "sft" else "model"]
        beside = read_manifest(previous).size if (previous := request.inputs.get("previous")) else 0
        wanted = wanted.holding(bytes_to_train(trained, wanted.nodes) + beside)
        with spent("elsewhere"):
            follow(TrainJob(request, wanted, ClusterSettings(**cluster), image, run, model))
        return read_manifest(stage.uri)
    require_gpus(wanted.gpus)
    if wanted.gpus <= 1:
        return request.make()
    with spent("elsewhere"):
        on_this_node(request)
    return read_manifest(stage.uri)


def on_this_node(request: TrainingRequest) -> None:
    """torchrun with all the request's processes here; raises UserError with theirs, or with the end of their log."""
    arguments = ["--standalone", f"--nproc-per-node={request.processes}", "-m", WORKER, request.model_dump_json()]
    threads = str(max(1, (os.cpu_count() or 1) // request.processes))
    process = subprocess.Popen(
        [sys.executable, "-m", TORCHRUN, *arguments],
        env={"OMP_NUM_THREADS": threads, **os.environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    log = Log()
    with ending_with_this_process(lambda: _end(process)):
        log.follow(process.stdout or ())
    if process.wait() != 0:
        raise log.error(f"training ended with exit code {process.returncode}")


def _end(process: subprocess.Popen[str]) -> None:
    """torchrun ends its workers when it is terminated."""
    process.terminate()
    try:
        process.wait(END_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
