"""The processes of a training, forked from one that has imported what they need: within a second, where torchrun takes
fifteen. What torchrun adds is tested with torchrun: that all end with one that failed, and how its error comes back."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable, Mapping
from multiprocessing.connection import wait
from pathlib import Path
from tempfile import TemporaryDirectory

from components.core.processes import free_ports
from components.training.launch import worker
from components.training.launch.request import TrainingRequest

_FORKS = multiprocessing.get_context("forkserver")


def train_in_ranks(request: TrainingRequest, work: Callable[[str], int] = worker.main) -> None:
    """Make the stage with `request.processes` processes that join over gloo; `work` is given the request in each.

    Raises AssertionError with the end of the log where one fails; the others are killed then.
    """
    _FORKS.set_forkserver_preload(["tests.helpers.warm"])
    group = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_ports(1)[0])}
    group |= {name: str(request.processes) for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE")}
    with TemporaryDirectory() as folder:
        log, ranks = Path(folder) / "log.txt", []
        for rank in map(str, range(request.processes)):
            environment = os.environ | group | {"RANK": rank, "LOCAL_RANK": rank}
            ranks.append(_FORKS.Process(target=_rank, args=(work, request.model_dump_json(), environment, log)))
            ranks[-1].start()
        at_work = {process.sentinel: process for process in ranks}
        while at_work and not any(process.exitcode for process in ranks):
            for sentinel in wait(list(at_work)):
                at_work.pop(sentinel).join()
        for process in ranks:
            process.kill()
            process.join()
        assert not any(process.exitcode for process in ranks), log.read_text(errors="replace")[-3000:]


def _rank(work: Callable[[str], int], request: str, environment: Mapping[str, str], log: Path) -> None:
    with log.open("ab") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    os.environ.clear()
    os.environ.update(environment)
    sys.exit(work(request))
