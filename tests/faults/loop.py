"""The steps of the tiny loop one after the other in one process, which is made by a fork: cheap to kill, cheap to begin
again. What each step makes, and how, is the product's own; kfp.local's processes between them are left out."""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import components.base_model.base_model
import components.eft.eft
import components.evaluation.measure
import components.gate.gate_model
import components.pairs.pairs
import components.prompts.prompts
import components.sampling.sampling
import components.training.launch.launch
from components.core.context import RunContext
from components.judging.judging import judge_model
from components.run.lifecycle import finish_run, prepare_run
from pipelines.graph.phases import ROLES
from pipelines.recipe import load_recipe
from tests.helpers.gateway import ANNOTATOR, JUDGE
from tests.helpers.tiny_loop import RUN, SETTINGS

# what a forked process finds imported
PRELOADED = ("tests.faults.loop", "tests.helpers.warm")
_FORKS = multiprocessing.get_context("forkserver")
_STARTED: list[tuple[ForkServerProcess, Path]] = []  # with their logs, by the test that is at work


@dataclass(frozen=True)
class Place:
    """Where a tiny run happens: the model that it starts from, its store, MLflow, the gateway, and the environment."""

    base: str
    store: str
    tracking_uri: str
    url: str
    environment: Mapping[str, str]
    settings: tuple[str, ...] = ()
    run: str = RUN


class NoMetrics:
    def log_metric(self, metric: str, value: float) -> None: ...


def tiny_run(place: Place) -> None:
    """From the seed data to M2 and the report, by the functions that the KFP components call."""
    recipe = load_recipe("demo", [*SETTINGS, f"model.base={place.base}", *place.settings])
    page = str(Path(os.environ["SRLM_HOME"]) / "page.html")
    judges = (place.url, place.url, f"{place.url}/v1", "", "", "", JUDGE, ANNOTATOR)
    context = RunContext(place.store, place.run, recipe.to_dict(), place.tracking_uri, "endpoint", *judges)
    state = prepare_run(context, page)
    try:
        _steps(state, page)
    finally:
        finish_run(place.store, place.run, page)


def _steps(state: dict[str, Any], page: str) -> None:
    measure, gates = components.evaluation.measure.measure_model, components.gate.gate_model
    train, run, none = components.training.launch.launch.train_model, state["run"], NoMetrics()
    state = components.base_model.base_model.import_all(state, list(ROLES))
    measured = measure("m0", state, "", state["evaluation"])
    state = gates.register_model(state, {"name": "m0", "model": ""}, measured, page, none)
    given = {name: state["data"][name] for name in ("base", "seed_data")}
    sft = train(run, "sft", "sft", {**given, "eft": ""})
    examples = components.eft.eft.make_examples(state, sft)
    measured = measure("sft", state, sft, state["evaluation"])
    state = gates.register_model(state, {"name": "sft", "model": sft}, measured, page, none)
    m1 = train(run, "m1", "sft", {**given, "eft": examples})
    prompts = components.prompts.prompts.make_all_prompts(state, 1)
    candidates, prompts = components.sampling.sampling.sample_model("m1", state, m1, prompts)
    judgements = judge_model("m1", state, m1, candidates)
    measured = measure("m1", state, m1, state["evaluation"])
    made = {"name": "m1", "model": m1, "candidates": candidates, "judgements": judgements, "prompts": prompts}
    _, state = gates.gate_model(state, made, measured, page, none)
    pairs = components.pairs.pairs.pair_candidates(state)
    m2 = train(run, "m2", "dpo", {"model": m1, "pairs": pairs, "seed_data": given["seed_data"]})
    measured = measure("m2", state, m2, state["evaluation"])
    nothing = {"candidates": "", "judgements": "", "prompts": []}
    gates.gate_model(state, {"name": "m2", "model": m2, **nothing}, measured, page, none)


def started(work: Callable[..., None], log: Path, environment: Mapping[str, str], *arguments: Any) -> ForkServerProcess:
    """The function in a process of its own, the leader of its group; its words go to the end of the log."""
    _FORKS.set_forkserver_preload(list(PRELOADED))
    process = _FORKS.Process(target=_work, args=(work, log, dict(environment), arguments))
    process.start()
    _STARTED.append((process, log))
    return process


def stuck() -> str:
    """Where each process that still runs stands now: the stacks of all its threads, at the end of its log."""
    running = [(process, log) for process, log in _STARTED if process.is_alive()]
    for process, _ in running:
        os.kill(process.pid or 0, signal.SIGUSR1)
    time.sleep(1.0)  # until they have written
    return "\n".join(f"process {process.pid}: {log.read_text(errors='replace')[-6000:]}" for process, log in running)


def end_all() -> None:
    """A test that failed leaves no process; multiprocessing would wait for it when Python ends, for ever."""
    while _STARTED:
        kill(_STARTED.pop()[0])


def _work(work: Callable[..., None], log: Path, environment: dict[str, str], arguments: tuple[Any, ...]) -> None:
    os.setsid()
    with log.open("ab") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    faulthandler.register(signal.SIGUSR1)
    os.environ.update(environment)
    try:
        work(*arguments)
    except SystemExit:
        raise
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(99)  # "a defect, please report"


def kill(process: ForkServerProcess) -> bool:
    """SIGKILL of the process and all that it started; whether it was still there."""
    there = process.exitcode is None
    if there:
        try:
            os.killpg(process.pid or 0, signal.SIGKILL)
        except ProcessLookupError:  # it has not become a leader yet
            process.kill()
    process.join()
    return there
