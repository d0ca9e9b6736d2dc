"""What a step's time goes on, and what is counted on the way: the ledger of a run, of which reports add up (issue 15).

`with spent("training"): ...` says it where the time is spent. An inner block's time is not its outer one's; of blocks
that are open at once (tasks, threads that asyncio started) each has its share; so the seconds of a ledger add up to the
time for which it was open. A thread that was started without this one's context, to watch say, adds nothing.
"""

from __future__ import annotations

import functools
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import ParamSpec, TypeVar

from components.core.spent import Amount, Kind, Spent

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(eq=False)
class _Block:
    """One open `with`; `inner` blocks are open in it."""

    ledger: Ledger
    kind: Kind
    outer: _Block | None
    inner: int = 0


_here: ContextVar[_Block | None] = ContextVar("here", default=None)


class Ledger:
    """Seconds by kind and amounts, from when it is opened; time that no block names is of kind `rest`."""

    def __init__(self, rest: Kind) -> None:
        self._lock = threading.Lock()
        self._seconds: defaultdict[Kind, float] = defaultdict(float)
        self._amounts: defaultdict[Amount, float] = defaultdict(float)
        self._held = Spent()
        self._settled = time.monotonic()
        self._open: list[_Block] = []
        self.whole = self.enter(rest, None)

    def enter(self, kind: Kind, outer: _Block | None) -> _Block:
        with self._lock:
            self._settle()
            block = _Block(self, kind, outer)
            if outer:
                outer.inner += 1
            self._open.append(block)
            return block

    def leave(self, block: _Block) -> None:
        with self._lock:
            self._settle()
            if block.outer:
                block.outer.inner -= 1
            self._open.remove(block)

    def _settle(self) -> None:
        """Give the time since the last change to the innermost blocks that were open."""
        now = time.monotonic()
        innermost = [block for block in self._open if not block.inner]
        for block in innermost:
            self._seconds[block.kind] += (now - self._settled) / len(innermost)
        self._settled = now

    def add(self, other: Spent) -> None:
        with self._lock:
            for kind, seconds in other.seconds.items():
                self._seconds[kind] += seconds
            for name, amount in other.amounts.items():
                self._amounts[name] += amount
            self._held = self._held.plus(Spent(gpus=other.gpus, cores=other.cores, gpu=other.gpu))

    def move(self, source: Kind, target: Kind, seconds: float) -> None:
        """Call so much of the time of one kind by another name, once it is known what it was."""
        with self._lock:
            self._settle()
            seconds = min(seconds, self._seconds[source])
            self._seconds[source] -= seconds
            self._seconds[target] += seconds

    def total(self) -> Spent:
        """Until now, without what has a ledger of its own."""
        with self._lock:
            self._settle()
            own = {kind: round(seconds, 3) for kind, seconds in self._seconds.items() if kind != "stages" and seconds}
            taken = {"seconds": own, "amounts": dict(self._amounts), "attempts": 1}
            return self._held.model_copy(update=taken)


@contextmanager
def opened_ledger(rest: Kind) -> Iterator[Ledger]:
    """A ledger of its own for what happens in the block; an outer one leaves that time out, unless the block fails."""
    outer, ledger = _here.get(), Ledger(rest)
    block = outer.ledger.enter("stages", outer) if outer else None
    token = _here.set(ledger.whole)
    try:
        yield ledger
    except BaseException:
        if outer:
            outer.ledger.add(ledger.total())
        raise
    finally:
        _here.reset(token)
        ledger.leave(ledger.whole)
        if block:
            block.ledger.leave(block)


@contextmanager
def spent(kind: Kind) -> Iterator[None]:
    """The time of this block goes on `kind`. Outside of any ledger it is nobody's."""
    outer = _here.get()
    if outer is None:
        yield
        return
    block = outer.ledger.enter(kind, outer)
    token = _here.set(block)
    try:
        yield
    finally:
        _here.reset(token)
        outer.ledger.leave(block)


def count(**amounts: float) -> None:
    """Add to the ledger's amounts, by the names of Amount."""
    if here := _here.get():
        here.ledger.add(Spent.model_validate({"amounts": amounts}))


def hold(gpus: int, gpu: str = "", cores: int | None = None) -> None:
    """What is held in this ledger: GPUs, and by their name; or the cores of the machine that works without one."""
    if here := _here.get():
        here.ledger.add(Spent(gpus=gpus, gpu=gpu, cores=cores))


def waited(seconds: float) -> None:
    """So much of the time for answers was time without any, while the server was busy or away."""
    if here := _here.get():
        here.ledger.move("engine", "waiting", seconds)


def so_far() -> Spent | None:
    """What the innermost open ledger says; None where there is none."""
    here = _here.get()
    return here.ledger.total() if here else None


def moves(kind: Kind, amount: Amount) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """For a method that moves bytes, or a file that a Path names: its time is of this kind, and the bytes count."""

    def decorate(method: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(method)
        def counted(*args: P.args, **named: P.kwargs) -> R:
            with spent(kind):
                result = method(*args, **named)
                moved = next((one for one in (result, *args) if isinstance(one, bytes | Path)), b"")
                count(**{amount: len(moved) if isinstance(moved, bytes) else moved.stat().st_size})
                return result

        return counted

    return decorate
