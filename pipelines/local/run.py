"""Run a recipe on this machine: the compiled YAML through kfp.local, with real servers around it."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from components.core.course import Course
from components.core.errors import UserError
from components.core.journal import REPORT
from components.core.local_files import write_whole
from components.core.processes import end, killed_for_memory
from components.core.progress import RUN_EVENTS, EventFile
from components.core.store import home, join, open_store
from pipelines.local.beforehand import check_places
from pipelines.local.services import BUCKET, registry_file, registry_here, services
from pipelines.local.terminal import show_summary
from pipelines.recipe import Recipe, require_local_files
from pipelines.runs import check_run_name
from pipelines.watch.outline import read_outline
from pipelines.watch.reading import Steps
from pipelines.watch.screen import Screen

# What takes less memory, by who takes it
TRAINING = "sft.micro_batch_size, dpo.micro_batch_size or their max_length"
SERVING = "serving.max_batch or serving.max_total_tokens"


@dataclass(frozen=True)
class RunOptions:
    """Where a local run happens; without a store or a tracking URI local servers are started."""

    store: str = ""
    tracking_uri: str = ""
    engine: str = "embedded"
    endpoint: str = ""
    judge_endpoint: str = ""
    annotator_endpoint: str = ""
    worker_image: str = ""
    trainer_image: str = ""
    engine_image: str = ""
    judge_model: str = ""
    annotator_model: str = ""

    def parameters(self) -> dict[str, str]:
        """The compiled pipeline's parameters that do not depend on servers of this machine; its defaults stay."""
        of_servers = ("store", "tracking_uri")
        return {name: value for name, value in vars(self).items() if value and name not in of_servers}


def run_recipe(
    recipe: Recipe, options: RunOptions, console: Console, debug: bool = False, run: str = ""
) -> dict[str, Any]:
    """Run to the end and return the summary, which is also left in `.srlm/runs/<run>/summary.json`.

    `run` is the run's name, else it gets a new one; the servers of an engine on Kubernetes are named after it. Raises
    UserError with the failed step's problem and remedy.
    """

    from pipelines.compile import write_documents  # KFP: a second that other commands do not need
    from pipelines.forecast.look import compiled_parts
    from pipelines.local.reuse import reuse

    started = time.monotonic()
    require_local_files(recipe)
    run = run or new_run(recipe.name)
    check_run_name(run)
    check_places(recipe, options, run)
    for name in ("events.jsonl", "summary.json"):  # an earlier run of this name ended otherwise
        (run_folder(run) / name).unlink(missing_ok=True)
    packages = compiled_parts(recipe)
    compiled = [run_folder(run) / f"pipeline{f'-{part}' * (part > 1)}.yaml" for part in range(1, len(packages) + 1)]
    for path, documents in zip(compiled, packages, strict=True):
        write_documents(path, documents)
    with servers(options, console, registry=False) as addresses:
        left = open_store(join(addresses["store"], "runs", run))
        found = options.parameters() | addresses | {"run": run}
        if not reuse(packages, found, run_folder(run), console):
            _execute_all(compiled, options, run, console, debug)
        summary, report = left.read("summary.json"), left.read(REPORT)
    if summary is None:
        raise UserError(f"the run {run} left no summary", f"Its log is {run_folder(run) / 'log.txt'}.")
    write_whole(run_folder(run) / "summary.json", summary.decode())
    if report:
        write_whole(run_folder(run) / REPORT, report.decode())
    result: dict[str, Any] = json.loads(summary)
    show_summary(console, result)
    seconds = time.monotonic() - started
    if report:
        console.print(f"report: {run_folder(run) / REPORT}", soft_wrap=True)
    console.print(f"{seconds:.0f} s; summary: {run_folder(run) / 'summary.json'}", soft_wrap=True)
    return result


def _execute_all(compiled: Sequence[Path], options: RunOptions, run: str, console: Console, debug: bool) -> None:
    """Each part of the run, until a gate stops it."""
    with servers(options, console, starting="model registry (MLflow)") as addresses:  # the store runs
        for path in compiled:
            execute(path, options.parameters() | addresses | {"run": run}, console, debug)
            summary = open_store(join(addresses["store"], "runs", run)).read("summary.json")
            if summary is None or json.loads(summary)["stopped_by"]:
                break


def keep_summary(summary: dict[str, Any], report: str) -> None:
    """Bring this machine's copies of a run's summary and report up to date, where it has them."""
    folder = run_folder(summary["run"])
    if (folder / "summary.json").is_file():
        write_whole(folder / "summary.json", json.dumps(summary, indent=1))
        write_whole(folder / REPORT, report)


def new_run(name: str) -> str:
    """The name of a run that starts now; two that start in one second differ all the same."""
    return f"{name}-{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


def run_folder(run: str) -> Path:
    """The folder of a run's files on this machine: compiled pipeline, log, events, summary."""
    return home() / "runs" / run


@contextmanager
def servers(
    options: RunOptions, console: Console, registry: bool = True, starting: str = ""
) -> Iterator[dict[str, str]]:
    """The pipeline parameters `store` and `tracking_uri`; local servers are started for what is not given.

    Without the `registry` no MLflow server is started for it: its URI is that of its file. The environment of this
    process and its children gets the local store's keys.
    """
    registry = registry and not options.tracking_uri
    if options.store and not registry:
        yield {"store": options.store, "tracking_uri": options.tracking_uri or registry_file()}
        return
    starting = starting or f"local store (SeaweedFS){' and model registry (MLflow)' * registry}"
    console.print(f"starting the {starting}")
    with services(registry=registry) as local:
        os.environ.update({} if options.store else local.environment())
        tracking_uri = options.tracking_uri or (local.tracking_uri if registry else registry_file())
        yield {"store": options.store or f"s3://{BUCKET}/artifacts", "tracking_uri": tracking_uri}


def looked_up(options: RunOptions) -> RunOptions:
    """The same with the registry named, for who reads or changes a few entries of it: for that no server is started.

    One that refuses is tried once more, and not for a quarter of a minute as by a run.
    """
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    return replace(options, tracking_uri=options.tracking_uri or registry_here())


def execute(compiled: Path, parameters: dict[str, str], console: Console, debug: bool) -> None:
    """Execute the compiled file in a process of its own, whose output goes to the run's log; events go to the screen.

    Raises UserError with the failed step's problem and remedy.
    """
    folder = compiled.parent
    events = EventFile(folder / "events.jsonl")
    environment = {
        # a thread that waits must not spin on a core that the engine or the trainer needs: measured 20 against 373
        # requests/s on two busy cores
        "OMP_WAIT_POLICY": "PASSIVE",
        RUN_EVENTS: str(folder.absolute() / "events.jsonl"),
        "SRLM_HOME": str(home().absolute()),
        "SRLM_OWNER_PID": str(os.getpid()),
    }
    command = [sys.executable, "-m", "pipelines.local.execute", str(compiled), json.dumps(parameters)]
    steps, error, killed = Steps(), None, killed_for_memory()
    screen = Screen(console, folder.name, read_outline([compiled]))
    with (folder / "log.txt").open("ab") as log, screen:
        process = subprocess.Popen(
            command, stdout=log, stderr=log, env=os.environ | environment, start_new_session=True
        )
        try:
            running = True
            while running:
                running = process.poll() is None  # seen before the events are read for the last time
                for event in events.new():
                    steps.add(event)
                    screen.update(steps.courses())
                    error = error or (event if event["kind"] == "error" else None)
                if running:
                    time.sleep(0.1)
        finally:
            end(process.pid, group=True)
            screen.update(steps.courses(running=False))
    if process.returncode:
        raise _failure(error, steps.courses(running=False), folder, debug, killed_for_memory() - killed)


def _failure(
    error: dict[str, Any] | None, courses: Sequence[Course], folder: Path, debug: bool, for_memory: int = 0
) -> UserError:
    """What the run ended with; a step that says nothing of its end was killed, mostly where memory is short: the kernel
    has ended so many processes `for_memory` meanwhile, of this run or of others."""
    short = "the kernel has ended a process, as this machine had too little memory"
    if error is None:
        stopped = [course.name for course in courses if course.state == "stopped"]
        at = f", in: {', '.join(stopped)}" if stopped else ""
        why = f"was killed: {short}" if for_memory else "was killed, or had too little memory"
        lower = TRAINING if any(name.startswith("train") for name in stopped) else SERVING
        return UserError(
            f"the run ended before its time{at}; that step {why}",
            f"Where memory is short (dmesg tells), lower {lower}. Its log is {folder / 'log.txt'}. "
            "Run again to continue: finished work is kept.",
        )
    problem = f"{error['step']}: {error['problem']}" + (f"; meanwhile {short}" if for_memory > 0 else "")
    return UserError(f"{error['trace']}\n{problem}" if debug else problem, error["remedy"])
