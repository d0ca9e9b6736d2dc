"""Which replica of a server takes which request: by the prefix that they share, and by load (issue 17)."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Hashable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from components.serving.window import Window

AHEAD = 64  # waiting requests among which one is looked for whose prefix a free replica knows
REMEMBERED = 4096  # prefixes
CLEARLY_MORE, SPARE = 1.5, 4  # times the requests of the replica that has the fewest, and so many beside
AWAY_S = 5.0  # for which a replica that could not be reached is asked only where no other is there


@dataclass(eq=False)
class Replica:
    """One server, and what is known of it."""

    url: str
    window: Window
    away_until: float = 0.0

    @property
    def load(self) -> float:
        """The part of its window that is taken."""
        return self.window.open / self.window.limit


@dataclass(eq=False)
class Place:
    """A request's place in the window of a replica; the first who says how it went gives it to another."""

    replica: Replica
    epoch: int
    freed: Callable[[], None]
    left: bool = False

    def answered(self, tokens: int | None) -> None:
        """With so many tokens, 0 where that is not known; None: without an answer."""
        if not self.left:
            self.left = True
            self.replica.window.leave(tokens)
            self.freed()

    def refused(self) -> None:
        """The server has no place for it."""
        if not self.left:
            self.left = True
            self.replica.window.refuse(self.epoch)
            self.freed()

    def lost(self) -> None:
        """The server could not be reached."""
        self.replica.away_until = self.replica.window.now() + AWAY_S
        self.answered(None)


class Replicas:
    """The servers of one model, each with a window of its own (window.py); who finds no place waits for one.

    Requests of one prefix (the candidates of a prompt, the judgements of a candidate) go to the replica that has read
    it already, unless that one has clearly more to do, or has no place free while no other request waits. At most
    `most` are in flight at all of them together.
    """

    def __init__(self, urls: Sequence[str], window: Callable[[], Window], most: int) -> None:
        self.most, self._window, self.all = most, window, [Replica(url, window()) for url in urls]
        self._known: OrderedDict[Hashable, Replica] = OrderedDict()
        self._waiting: deque[tuple[Hashable, asyncio.Future[Place]]] = deque()
        self._found = self._now()

    def _now(self) -> float:
        return self.all[0].window.now()

    @property
    def limit(self) -> int:
        """Requests that may be in flight now."""
        return min(self.most, sum(replica.window.limit for replica in self.all))

    @property
    def ahead(self) -> int:
        """Requests that are to wait here beside, so that each replica finds those that are for it."""
        return AHEAD if len(self.all) > 1 else 0

    @asynccontextmanager
    async def place(self, prefix: Hashable, first: bool = False) -> AsyncIterator[Place]:
        """A place for a request with this prefix, as soon as there is one; before all others if it is to be `first`."""
        future: asyncio.Future[Place] = asyncio.get_running_loop().create_future()
        (self._waiting.appendleft if first else self._waiting.append)((prefix, future))
        self._give_places()
        try:
            yield await future
        finally:
            if future.done() and not future.cancelled():
                future.result().answered(None)

    def outdated(self) -> bool:
        """Whether it is time to look for the replicas again."""
        return self._now() - self._found > AWAY_S

    def replace(self, urls: Sequence[str]) -> None:
        """Ask these from now on: those that are known keep their windows."""
        self._found, known = self._now(), {replica.url: replica for replica in self.all}
        self.all = [known.get(url) or Replica(url, self._window()) for url in urls]
        self._give_places()

    def _give_places(self) -> None:
        """To those that wait, in their order as far as prefixes leave it."""
        while self._waiting and (free := self._free()):
            emptiest = min(free, key=lambda replica: replica.load)
            number, replica = self._choose(free, emptiest)
            prefix, future = self._waiting[number]
            del self._waiting[number]
            if future.done():  # cancelled
                continue
            self._known[prefix] = replica
            self._known.move_to_end(prefix)
            if len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
            future.set_result(Place(replica, replica.window.send(), self._give_places))

    def _choose(self, free: list[Replica], emptiest: Replica) -> tuple[int, Replica]:
        """Which of those that wait goes on, and where to."""
        most = CLEARLY_MORE * emptiest.window.open + SPARE
        for number in range(min(AHEAD, len(self._waiting)) if len(self.all) > 1 else 0):
            known = self._known.get(self._waiting[number][0])
            if known not in self.all or known.away_until > self._now():
                return number, emptiest
            if known in free and known.window.open <= most:
                return number, known
        return 0, emptiest

    def _free(self) -> list[Replica]:
        """Those that may be asked now; one that could not be reached where there is no other."""
        if sum(replica.window.open for replica in self.all) >= self.most:
            return []
        now = self._now()
        present = [replica for replica in self.all if replica.away_until <= now] or self.all
        return [replica for replica in present if replica.load < 1]
