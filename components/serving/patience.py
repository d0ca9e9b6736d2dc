"""How long an endpoint is asked again: limits by the minute are outlasted, a dead server is left alone (issue 13)."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from components.serving.address import PATIENCE_S

TRIPPED = 2  # rounds without an answer after which one request alone is tried


@dataclass(frozen=True)
class RetryPolicy:
    """How long to keep trying; waits are drawn from 0 to a limit that starts at `first_wait` seconds and doubles.

    `attempts` are those at a server that is broken or gone, `patience` the seconds without any answer from one that is
    busy. A request may take `timeout` seconds, and `timeout_per_token` for each token that it may write.
    """

    attempts: int = 30
    first_wait: float = 0.5
    longest_wait: float = 20.0
    timeout: float = 300.0
    timeout_per_token: float = 1.0
    patience: float = PATIENCE_S

    def wait(self, attempt: int) -> float:
        """Seconds to wait after attempt number `attempt` (from 0).

        Drawn from all of the range (full jitter): callers that failed together do not come back together.
        """
        return random.uniform(0.0, min(self.longest_wait, self.first_wait * 2 ** min(attempt, 30)))

    def read_timeout(self, tokens: int) -> float:
        """Seconds that a request for so many new tokens may take."""
        return self.timeout + self.timeout_per_token * tokens


@dataclass
class Circuit:
    """What all requests to one endpoint know of it together: how often, and since when, it has not answered.

    Requests that fail at once are one round. After two rounds without an answer the circuit is open: one request at a
    time is tried, until one is answered.
    """

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    answers: int = 0
    rounds: int = 0
    problem: str = ""  # what was said instead of the last answer
    _not_before: float = 0.0
    _sent: int = 0
    _counted: int = 0
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def __post_init__(self) -> None:
        self._alive = self.now()
        self._lost, self._failing_since = 0.0, math.inf

    @property
    def lost(self) -> float:
        """Seconds between a failure and the next answer: nobody was answered."""
        return self._lost + max(0.0, self.now() - self._failing_since)

    @property
    def silent(self) -> float:
        """Seconds since the last answer, or since the first question."""
        return self.now() - self._alive

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[int]:
        """The number of a request that may be sent now, or once whoever is tried alone has come to its end."""
        async with self._lock:
            if self.rounds >= TRIPPED:
                yield await self._next()
                return
        yield await self._next()

    async def _next(self) -> int:
        while (left := self._not_before - self.now()) > 0:
            await self.sleep(left + random.uniform(0.0, min(1.0, left)))
        self._sent += 1
        return self._sent

    def answered(self) -> None:
        self._lost, self._failing_since = self.lost, math.inf
        self.answers, self.rounds, self._alive, self.problem = self.answers + 1, 0, self.now(), ""

    def revived(self) -> None:
        """The server was away, and is there again."""
        self.rounds, self._alive = 0, self.now()

    def failed(self, number: int) -> None:
        """Note that this request failed; those that were under way together count as one round."""
        self._failing_since = min(self._failing_since, self.now())
        if number > self._counted:
            self.rounds, self._counted = self.rounds + 1, self._sent

    def hold(self, seconds: float) -> None:
        """Nobody asks for so long: the server said so."""
        self._not_before = max(self._not_before, self.now() + seconds)
