"""Runs in this process, each on a core of its own: what `srlm run` starts around a run (a process for each step, the
store's and the registry's servers, two threads for a model of 0.34 M weights) takes longer than such a run itself.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import redirect_stderr, redirect_stdout
from multiprocessing import get_context
from multiprocessing.queues import Queue
from typing import Any, NamedTuple

from components.core.errors import UserError
from components.core.processes import usable_cores, watch_owner
from components.core.store import home, join, open_store
from components.serving.engines.processes import EmbeddedEngine
from pipelines.forecast.look import compiled_parts
from pipelines.graph.execution import execute_steps, with_outputs
from pipelines.local.run import RunOptions, run_folder
from pipelines.recipe import Recipe


class Ended(NamedTuple):
    """A run's summary, or the problem that it ended with."""

    summary: dict[str, Any]
    problem: str = ""

    @property
    def found(self) -> bool:
        """Whether an earlier run has made all of it."""
        return not self.problem and all(stage["reused"] for stage in self.summary["stages"])


def run_here(recipe: Recipe, options: RunOptions, run: str) -> Ended:
    """Every step of the run, in this process; the stages that are there are found. `options` name store and registry.

    What the steps print goes to the run's log.
    """
    folder, packages = run_folder(run), compiled_parts(recipe)
    folder.mkdir(parents=True, exist_ok=True)
    where = {name: value for name, value in vars(options).items() if value} | {"run": run}
    left = open_store(join(options.store, "runs", run))

    def step(name: str, make: Callable[..., Any], inputs: dict[str, Any]) -> Any:
        return make(**with_outputs(make, inputs, folder / "kfp" / name))

    with (folder / "log.txt").open("a") as log, redirect_stdout(log), redirect_stderr(log):
        try:
            for documents in packages:
                execute_steps(documents[0], documents[0]["root"], where, step)
                summary = json.loads(left.read("summary.json") or b"{}")
                if summary["stopped_by"]:
                    break
        except SystemExit as end:  # a step's own end, after it has printed why
            cause = end.__cause__
            return Ended({}, cause.problem if isinstance(cause, UserError) else str(cause or end))
        finally:
            EmbeddedEngine().stop(run)
    return Ended(summary)


class Wanted(NamedTuple):
    """A run; `after` is the name of one without whose end it does not begin, "" for none."""

    run: str
    recipe: Recipe
    after: str = ""


def run_all(wanted: Sequence[Wanted], options: RunOptions) -> Iterator[tuple[str, Ended]]:
    """The runs by their names, as they end: as many beside one another as there are cores, in their order."""
    cores = usable_cores()
    context = get_context("spawn")
    free: Queue[int] = context.Queue()
    for core in cores:
        free.put(core)
    waiting, going, ended = list(wanted), dict[Future[Ended], str](), set[str]()
    with ProcessPoolExecutor(len(cores), context, initializer=_on_a_core, initargs=(free,)) as workers:
        try:
            while waiting or going:
                for one in [one for one in waiting if not one.after or one.after in ended][: len(cores) - len(going)]:
                    waiting.remove(one)
                    going[workers.submit(run_here, one.recipe, options, one.run)] = one.run
                for future in wait(going, return_when=FIRST_COMPLETED).done:
                    name = going.pop(future)
                    ended.add(name)
                    yield name, future.result()
        finally:
            workers.shutdown(wait=False, cancel_futures=True)


def _on_a_core(free: Queue[int]) -> None:
    """This worker's core, and that of the servers that it starts. They end with it, and it ends with its owner."""
    watch_owner(os.getppid())
    core = free.get()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {core})
    environment = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "SRLM_OWNER_PID": str(os.getpid())}
    # MLflow's client, where it reads a registry's file itself, would begin a folder mlruns wherever it is started
    os.environ.update(environment | {"_MLFLOW_SERVER_ARTIFACT_ROOT": str(home().absolute() / "mlflow")})
