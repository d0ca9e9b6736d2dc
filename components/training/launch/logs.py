"""What processes elsewhere say while they train: shown here as it comes, its end kept for an error."""

from __future__ import annotations

import json
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType

from components.core.errors import UserError
from components.training.launch.request import PROBLEM

LAST_LINES = 20


class Log:
    """The lines of one or several processes, which may come from several threads."""

    def __init__(self) -> None:
        self._last: deque[str] = deque(maxlen=LAST_LINES)
        self._problem: UserError | None = None

    def follow(self, lines: Iterable[str], prefix: str = "") -> None:
        for line in lines:
            self._add(line.rstrip("\n"), prefix)

    def _add(self, line: str, prefix: str) -> None:
        if line.startswith(PROBLEM):
            self._problem = self._problem or UserError(**json.loads(line.removeprefix(PROBLEM)))
            return
        self._last.append(f"{prefix}{line}")
        print(f"{prefix}{line}", file=sys.stderr, flush=True)

    def error(self, problem: str) -> UserError:
        """The first UserError that the log holds, else `problem` with the last lines."""
        if self._problem:
            return self._problem
        lines = "\n".join(f"  {line}" for line in self._last) or "  (it said nothing)"
        return UserError(f"{problem}:\n{lines}\n", "Checkpoints are kept: run again, and training goes on from there.")


@contextmanager
def ending_with_this_process(end: Callable[[], object]) -> Iterator[None]:
    """Call `end` when this block is left by an error, by Ctrl-C or by SIGTERM (which Kubernetes sends)."""
    main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, _leave) if main else None
    try:
        yield
    except BaseException:
        end()
        raise
    finally:
        if main:
            signal.signal(signal.SIGTERM, before)


def _leave(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)
