"""The bounded queue between the callers and the decode thread, and how many of its requests fit into the batch."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from components.serving.embedded.decoding.sequences import Sequence
from components.serving.embedded.model.prefix import common_length


class OverloadedError(Exception):
    """The queue is full."""


class RequestQueue:
    """First in, first out; sequences whose caller went away are dropped on the way."""

    def __init__(self, max_size: int) -> None:
        self._max_size = max_size
        self._sequences: deque[Sequence] = deque()
        self._changed = threading.Condition()
        self.closed = False

    def __len__(self) -> int:
        return len(self._sequences)

    def put(self, sequence: Sequence) -> None:
        """Add a sequence. Raises OverloadedError when the queue is full."""
        with self._changed:
            if len(self._sequences) >= self._max_size:
                raise OverloadedError
            self._sequences.append(sequence)
            self._changed.notify()

    def put_back(self, sequences: list[Sequence]) -> None:
        """To the head, in their order: they had their turn and could not use it."""
        with self._changed:
            self._sequences.extendleft(reversed(sequences))

    def close(self) -> None:
        """End the wait of the decode thread."""
        with self._changed:
            self.closed = True
            self._changed.notify()

    def wait(self, timeout_s: float) -> None:
        """Return when a sequence waits, when the queue is closed, or after `timeout_s`."""
        with self._changed:
            self._changed.wait_for(lambda: self._sequences or self.closed, timeout=timeout_s)

    def take_while(self, accept: Callable[[Sequence], bool]) -> list[Sequence]:
        """The sequences at the head of the queue that `accept` lets in, up to the first that it does not."""
        taken: list[Sequence] = []
        with self._changed:
            while self._sequences and (self._sequences[0].future.cancelled() or accept(self._sequences[0])):
                sequence = self._sequences.popleft()
                if not sequence.future.cancelled():
                    taken.append(sequence)
        return taken


class BatchBudget:
    """What still fits into a batch: by the number of sequences, and by the tokens whose keys they will need at most.

    shared: the tokens that the running sequences share; None when the batch is empty. Without sharing it stays empty.
    """

    def __init__(
        self, running: list[Sequence], shared: tuple[int, ...] | None, max_sequences: int, max_tokens: int
    ) -> None:
        self._count = len(running)
        self._longest = max((sequence.max_length for sequence in running), default=0)
        self._shared = shared
        self._max_sequences = max_sequences
        self._max_tokens = max_tokens

    def accept(self, sequence: Sequence) -> bool:
        """Count a sequence in if it fits. The first one always does."""
        known = sequence.prompt[:-1] if self._shared is None else self._shared
        shared = known[: common_length(known, sequence.prompt[:-1])]
        longest, count = max(self._longest, sequence.max_length), self._count + 1
        tokens = len(shared) + count * (longest - len(shared))
        if self._count and (count > self._max_sequences or tokens > self._max_tokens):
            return False
        self._count, self._longest, self._shared = count, longest, shared
        return True
