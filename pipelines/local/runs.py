"""Runs on this machine: folders below `.srlm/runs`, and the processes that execute them."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from components.core.processes import alive, processes
from components.core.progress import read_event
from components.core.store import home
from pipelines.runs import RECENT, Run, check_run_name
from pipelines.watch.outline import read_outline
from pipelines.watch.reading import Reading, Steps

EXECUTE = "pipelines.local.execute"  # the module that `srlm run` starts for each run
LOCK = "lock"  # of a run's folder, held by `srlm run`
END_TIMEOUT_S = 20.0  # for a run to end after SIGTERM


class LocalRuns:
    """The kind `local`."""

    name = "local"

    def recent(self) -> list[Run]:
        folders = sorted(_root().glob("*/"), key=lambda folder: folder.stat().st_mtime, reverse=True)
        running = owners()
        return [_run(folder, running) for folder in folders[:RECENT]]

    def find(self, run: str) -> list[Run]:
        folder = _root() / run
        known = run not in ("", ".", "..") and "/" not in run and folder.is_dir()
        return [_run(folder, owners())] if known else []

    def with_steps(self, runs: list[Run]) -> list[Run]:
        """They have them from their events."""
        return runs

    @contextmanager
    def watched(self, run: Run) -> Iterator[Callable[[], Reading]]:
        """By its events; its packages tell what is still to come."""
        folder = _root() / run.name
        outline = read_outline(sorted(folder.glob("pipeline*.yaml"), key=lambda path: (len(path.name), path.name)))

        def read() -> Reading:
            found = self.find(run.name)  # before its events are read for the last time
            state = found[0].state if found else "gone"
            return Reading(state, outline, Steps(events(folder)).courses(running=state == "running"))

        yield read

    def details(self, run: Run) -> list[str]:
        errors = [event for event in events(_root() / run.name) if event["kind"] == "error"]
        lines = [f"{errors[0]['step']}: {errors[0]['problem']}. {errors[0]['remedy']}"] if errors else []
        return [*lines, f"its files are in {_root() / run.name}"]

    def log(self, run: Run, follow: bool) -> Iterator[str]:
        path = _root() / run.name / "log.txt"
        if not path.exists():
            return
        with path.open(errors="replace") as file:
            while True:
                running = follow and run.name in owners()  # seen before the file is read for the last time
                yield from (line.rstrip("\n") for line in file)
                if not running:
                    return
                time.sleep(0.5)

    def cancel(self, run: Run) -> list[str]:
        """Ends `srlm run`; the process that executes, its step and the run's servers end by themselves without it."""
        owner = owners().get(run.name)
        if owner is None:
            return []
        os.kill(owner, signal.SIGTERM)
        deadline = time.monotonic() + END_TIMEOUT_S
        while run.name in owners() and time.monotonic() < deadline:
            time.sleep(0.2)
        gone = "" if run.name not in owners() else ", which has not ended yet"
        return [f"ended the process {owner} of the run {run.name}{gone}; run again to continue: finished work is kept"]


def _root() -> Path:
    return home() / "runs"


def events(folder: Path) -> list[dict[str, Any]]:
    """The events that the run's steps emitted, oldest first; a line that is not whole yet is left for the next time."""
    path = folder / "events.jsonl"
    text = path.read_text(errors="replace") if path.exists() else ""
    return [event for line in text.splitlines(keepends=True) if line.endswith("\n") for event in read_event(line)]


def _run(folder: Path, running: dict[str, int]) -> Run:
    emitted = events(folder)
    compiled = folder / "pipeline.yaml"
    since = (compiled if compiled.exists() else folder).stat().st_mtime
    if folder.name in running or _is_held(folder):
        state = "running"
    elif (folder / "summary.json").exists():
        state = "finished"
    else:
        state = "failed" if any(event["kind"] == "error" for event in emitted) else "stopped"
    going = [course for course in Steps(emitted).courses() if course.state == "running"]
    step = ", ".join(course.text for course in going) if state in ("running", "stopped") else ""
    return Run("local", folder.name, state, datetime.fromtimestamp(since, UTC), step)


@contextmanager
def held(run: str) -> Iterator[None]:
    """While the context lasts the run goes on, also before its servers have started and between its parts; whoever
    holds it may be killed. A run that was refused leaves no folder."""
    check_run_name(run)
    folder = _root() / run
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with (folder / LOCK).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH)
            yield
    finally:
        if [path.name for path in folder.glob("*")] == [LOCK]:
            shutil.rmtree(folder)


def _is_held(folder: Path) -> bool:
    if not (folder / LOCK).exists():
        return False
    with (folder / LOCK).open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def owners() -> dict[str, int]:
    """Names of the runs below this home that are executed now, with the process ids of their `srlm run`."""
    owner_of: dict[str, int] = {}
    root = _root().resolve()
    for pid, parent, command in processes():
        if EXECUTE not in command:
            continue
        compiled = Path(command[command.index(EXECUTE) + 1])
        if not compiled.is_absolute():
            compiled = _working_folder(pid) / compiled
        if compiled.parent.parent.resolve() == root and alive(parent):
            owner_of[compiled.parent.name] = parent
    return owner_of


def _working_folder(pid: int) -> Path:
    try:
        return Path(f"/proc/{pid}/cwd").resolve()
    except OSError:
        return Path.cwd()
