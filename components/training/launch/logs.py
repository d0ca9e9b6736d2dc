"""The logs of processes that train elsewhere: shown here as they come, their last lines kept for an error."""

from __future__ import annotations

import json
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

from components.core.errors import UserError
from components.core.progress import POINT_LINE, PROGRESS_LINE, emit, emit_point, visible
from components.kubernetes.client import Cluster
from components.kubernetes.logs import log_lines
from components.training.launch.request import PROBLEM
from components.training.launch.trainjob import NODE

LAST_LINES = 20
LOG_TIMEOUT_S = 10.0  # for the end of an ended pod's log
JOB_SET = "jobset.sigs.k8s.io/jobset-name"  # the label of a TrainJob's pods, with its name


class Log:
    """The lines of one or several processes, which may come from several threads."""

    def __init__(self) -> None:
        self._last: deque[str] = deque(maxlen=LAST_LINES)
        self._problem: UserError | None = None

    def follow(self, lines: Iterable[str], prefix: str = "") -> None:
        """Show the lines as they come; the one that holds a worker's UserError is kept instead."""
        for line in lines:
            shown, *problems = line.rstrip("\n").split(PROBLEM)
            if problems:  # several processes share one pipe: two may be on a line, after the half of another line
                self._problem = self._problem or _user_error(problems[0])
                if not shown:
                    continue
            shown, told, point = shown.partition(POINT_LINE)
            if told:
                with suppress(ValueError, KeyError, TypeError):  # one that another process's line has torn
                    known = json.loads(point)
                    emit_point(known["step"], known["values"])
                if not shown:
                    continue
            if counted := PROGRESS_LINE.match(shown):  # so the step's course tells how far another pod is
                emit("progress", label=counted[1], done=int(counted[2]), total=int(counted[3]))
            shown = prefix + visible(shown)
            self._last.append(shown)
            print(shown, file=sys.stderr, flush=True)

    def error(self, problem: str) -> UserError:
        """The first UserError that the log holds, else `problem` with the last lines."""
        if self._problem:
            return self._problem
        lines = "\n".join(f"  {line}" for line in self._last) or "  (it logged nothing)"
        return UserError(f"{problem}:\n{lines}\n", "Checkpoints are kept: run again, and training goes on from there.")


def _user_error(text: str) -> UserError:
    text = visible(text)
    try:
        told = json.JSONDecoder().raw_decode(text)[0]
        return UserError(visible(str(told["problem"])), visible(str(told["remedy"])))
    except (ValueError, KeyError, TypeError):  # of what is no object
        return UserError(f"a training process ended with a message that was cut off: {text}", "Look at its log.")


class PodLogs:
    """Streams the logs of a TrainJob's pods, each from the moment when it runs."""

    def __init__(self, cluster: Cluster, job: str, log: Log) -> None:
        self.cluster, self.job, self.log = cluster, job, log
        self._threads: dict[str, threading.Thread] = {}

    def poll(self) -> list[Any]:
        """Follow pods that are new; returns all of them."""
        chosen = f"{JOB_SET}={self.job}"
        pods = self.cluster.core.list_namespaced_pod(self.cluster.namespace, label_selector=chosen).items
        for pod in pods:
            name = pod.metadata.name
            if pod.status.phase != "Pending" and name not in self._threads:
                prefix = f"{name.removeprefix(self.job).lstrip('-')}: "
                arguments = (self._lines(name), prefix)
                self._threads[name] = threading.Thread(target=self.log.follow, args=arguments, daemon=True)
                self._threads[name].start()
        return list(pods)

    def finish(self) -> None:
        """Read the ended pods' logs to their end."""
        self.poll()
        for thread in self._threads.values():
            thread.join(LOG_TIMEOUT_S)

    def _lines(self, pod: str) -> Iterator[str]:
        try:
            yield from log_lines(self.cluster, pod, NODE)
        except UserError as error:
            yield f"(its log cannot be followed further: {error})"


@contextmanager
def ending_with_this_process(end: Callable[[], object]) -> Iterator[None]:
    """Call `end` when this block is left by an error, by Ctrl-C or by SIGTERM (which Kubernetes sends)."""

    def leave(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, leave) if main else None
    try:
        yield
    except BaseException:
        end()
        raise
    finally:
        if main:
            signal.signal(signal.SIGTERM, before)
