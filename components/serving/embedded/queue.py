"""The bounded queue between the callers and the decode thread."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from components.serving.embedded.prefix import common_length
from components.serving.embedded.rows import Row


class OverloadedError(Exception):
    """The queue is full."""


class RequestQueue:
    """First in, first out; rows whose caller went away are dropped on the way."""

    def __init__(self, max_size: int) -> None:
        self._max_size = max_size
        self._rows: deque[Row] = deque()
        self._changed = threading.Condition()
        self.closed = False

    def __len__(self) -> int:
        return len(self._rows)

    def put(self, row: Row) -> None:
        """Add a row. Raises OverloadedError when the queue is full."""
        with self._changed:
            if len(self._rows) >= self._max_size:
                raise OverloadedError
            self._rows.append(row)
            self._changed.notify()

    def close(self) -> None:
        """Nobody waits for rows any more."""
        with self._changed:
            self.closed = True
            self._changed.notify()

    def wait(self, seconds: float) -> None:
        """Return when a row waits, when the queue is closed, or after `seconds`."""
        with self._changed:
            self._changed.wait_for(lambda: self._rows or self.closed, timeout=seconds)

    def take_while(self, accept: Callable[[Row], bool]) -> list[Row]:
        """The rows at the head of the queue that `accept` lets in, up to the first that it does not."""
        taken: list[Row] = []
        with self._changed:
            while self._rows and (self._rows[0].future.cancelled() or accept(self._rows[0])):
                row = self._rows.popleft()
                if not row.future.cancelled():
                    taken.append(row)
        return taken


class Room:
    """How many more rows fit into a batch: by their number, and by the tokens whose keys they will need at most.

    shared: the tokens that the running rows share; None when the batch is empty. Without sharing it stays empty.
    """

    def __init__(self, running: list[Row], shared: tuple[int, ...] | None, max_rows: int, max_tokens: int) -> None:
        self._rows = len(running)
        self._longest = max((row.final_length for row in running), default=0)
        self._shared = shared
        self._max_rows = max_rows
        self._max_tokens = max_tokens

    def accept(self, row: Row) -> bool:
        """Count a row in if it fits. The first one always does."""
        known = row.prompt[:-1] if self._shared is None else self._shared
        shared = known[: common_length(known, row.prompt[:-1])]
        longest, rows = max(self._longest, row.final_length), self._rows + 1
        tokens = len(shared) + rows * (longest - len(shared))
        if self._rows and (rows > self._max_rows or tokens > self._max_tokens):
            return False
        self._rows, self._longest, self._shared = rows, longest, shared
        return True
