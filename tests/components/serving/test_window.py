"""Requests in flight follow a server whose best number is known, by a clock that only waiting moves."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field

import pytest

from components.serving.replicas import Replicas
from components.serving.window import MOST, START, Window, window_of
from tests.helpers.virtual_loop import run_virtually

BASE_S = 0.5


@dataclass
class Server:
    """Takes BASE_S (1 + n / half) for an answer with n in work, `slots` at most; others wait in a queue of `queue`,
    beyond which they are refused. Lengths spread by `spread` of their mean."""

    half: float
    slots: int
    queue: float = float("inf")
    spread: float = 0.4
    slowness: float = 1.0
    busy: int = 0
    held: int = 0
    most_held: int = 0
    refusals: int = 0
    finished: list[float] = field(default_factory=list)
    read: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.places, self.random = asyncio.Semaphore(self.slots), random.Random(3)

    def best(self) -> float:
        """Answers a second with all slots in work: more of them always give more here."""
        return self.slots / (BASE_S * (1 + self.slots / self.half))

    async def answer(self, prefix: str = "") -> int | None:
        """Tokens of the answer, None for a refusal, which takes a hundredth of a second."""
        if self.held >= self.slots + self.queue:
            self.refusals += 1
            await asyncio.sleep(0.01)
            return None
        self.held, self.read[prefix] = self.held + 1, self.read[prefix] + 1
        self.most_held = max(self.most_held, self.held)
        async with self.places:
            self.busy += 1
            length = max(0.1, self.random.gauss(1, self.spread))
            await asyncio.sleep(self.slowness * BASE_S * (1 + self.busy / self.half) * length)
            self.busy -= 1
        self.held -= 1
        self.finished.append(asyncio.get_running_loop().time())
        return round(100 * length)


def throughput(servers: list[Server]) -> float:
    """Of all of them together, of the best that they can, from a fifth of the answers to four fifths."""
    times = sorted(time for server in servers for time in server.finished)
    first, last = len(times) // 5, len(times) * 4 // 5
    return (last - first) / (times[last] - times[first]) / sum(server.best() for server in servers)


async def feed(servers: list[Server], prefixes: list[str], most: int = MOST, places: int = 0) -> Replicas:
    """All answered by the servers; `most` in flight at once. A refused one is sent again half a second later."""
    clock = asyncio.get_running_loop().time
    urls = [str(number) for number in range(len(servers))]
    replicas, queue = Replicas(urls, lambda: window_of(places, most, clock), most), iter(prefixes)

    async def worker() -> None:
        for prefix in queue:
            tokens, tries = None, 0
            while tokens is None:
                async with replicas.place(prefix, first=tries > 0) as place:
                    tokens, tries = await servers[int(place.replica.url)].answer(prefix), tries + 1
                    place.refused() if tokens is None else place.answered(tokens)
                if tokens is None:
                    await asyncio.sleep(0.5)

    async with asyncio.TaskGroup() as workers:
        for _ in range(min(most + replicas.ahead, len(prefixes))):
            workers.create_task(worker())
    return replicas


def alone(number: int) -> list[str]:
    """Prefixes that no two requests share."""
    return [str(n) for n in range(number)]


@pytest.mark.parametrize(
    ("half", "slots", "requests", "spread"),
    [
        (32, 128, 1600, 0.0),
        (32, 128, 1600, 0.4),
        (32, 100, 1600, 0.4),
        (32, 180, 3000, 0.4),
        (1000, 256, 4000, 0.4),
        (1e9, 4, 400, 0.4),
    ],
)
def test_a_server_gets_as_many_as_it_can_use(half: float, slots: int, requests: int, spread: float) -> None:
    """Each server's throughput grows up to its slots: 0.95 of what it is there, of 12 to 100 rounds of its slots. Three
    doublings beyond them, one of them by chance, or two of what it began with, are never exceeded."""
    server = Server(half, slots, spread=spread)
    run_virtually(feed([server], alone(requests)))
    assert len(server.finished) == requests
    assert throughput([server]) >= 0.95
    assert server.most_held <= max(8 * slots, 4 * START)


def test_four_replicas_get_as_many_as_they_can_use() -> None:
    """Candidates by four of a prompt are nearly all read by one replica; 0.95 of four times the best."""
    servers = [Server(32, 128) for _ in range(4)]
    run_virtually(feed(servers, [str(n // 4) for n in range(6400)]))
    assert throughput(servers) >= 0.95
    read = Counter(prefix for server in servers for prefix in server.read)
    assert sum(read.values()) <= 1.1 * len(read) == 1.1 * 1600
    shares = [len(server.finished) / 6400 for server in servers]
    assert min(shares) > 0.2


def test_a_slow_replica_gets_fewer() -> None:
    """One of two takes three times as long: it gets a quarter of the requests."""
    servers = [Server(1e9, 16), Server(1e9, 16)]
    servers[1].slowness = 3.0
    run_virtually(feed(servers, alone(1600)))
    assert len(servers[1].finished) / 1600 == pytest.approx(0.25, abs=0.05)


def test_few_requests_at_once_stay_with_their_prefix() -> None:
    """12 at once, three of a prompt, are far fewer than the windows hold: each prompt is read once, and both work."""
    servers = [Server(32, 128), Server(32, 128)]
    run_virtually(feed(servers, [str(n // 3) for n in range(600)], most=12))
    assert sum(len(server.read) for server in servers) <= 1.05 * 200
    assert min(len(server.finished) for server in servers) > 240


def test_a_server_that_refuses_holds_what_it_takes() -> None:
    """128 at once and no queue: what is refused is sent again, nothing is lost, and few are refused later on."""
    server = Server(32, 128, queue=0)
    replicas = run_virtually(feed([server], alone(3000)))
    assert len(server.finished) == 3000 and throughput([server]) >= 0.95
    assert server.refusals < 300
    assert 110 <= replicas.limit <= 144


def test_a_small_server_is_not_flooded() -> None:
    """Four slots and a queue of four, as many servers on laptops have: at most the first few are refused."""
    server = Server(1e9, 4, queue=4)
    replicas = run_virtually(feed([server], alone(400)))
    assert len(server.finished) == 400 and throughput([server]) >= 0.95
    assert server.refusals < 40 and replicas.limit <= 9


def test_a_server_that_says_what_it_works_on_gets_that_and_a_quarter() -> None:
    """At once and to the end: the embedded engine with max_batch 48."""
    server = Server(32, 48)
    replicas = run_virtually(feed([server], alone(600), places=48))
    assert server.most_held == replicas.limit == 60


def test_the_user_s_bound_holds() -> None:
    server = Server(32, 128)
    run_virtually(feed([server], alone(400), most=24))
    assert server.most_held <= 24


def test_a_server_that_becomes_smaller_and_larger_is_followed() -> None:
    """From 128 slots to 8 and back: what is in flight follows within some rounds, down to less than 64 and up again."""
    server, limits = Server(1e9, 128), []

    async def change() -> None:
        feeding = asyncio.create_task(feed([server], alone(14000)))
        for slots, until in ((128, 3000), (8, 6500), (128, 13500)):
            server.places = asyncio.Semaphore(slots)
            while len(server.finished) < until and not feeding.done():
                await asyncio.sleep(1)
            limits.append(server.held)
        await feeding

    run_virtually(change())
    assert len(server.finished) == 14000
    assert limits[0] >= 128 and limits[1] < 64 and limits[2] >= 100


def test_a_replica_that_is_gone_loses_nothing() -> None:
    """It is left alone as soon as one request has not reached it; another address takes its place."""

    async def lose() -> list[str]:
        replicas = Replicas(["a", "b"], lambda: window_of(0, MOST, asyncio.get_running_loop().time), MOST)
        asked = []
        for _ in range(40):
            async with replicas.place("same") as place:
                asked.append(place.replica.url)
                place.lost() if place.replica.url == "a" else place.answered(5)
            await asyncio.sleep(0.05)
        replicas.replace(["b", "c"])
        async with replicas.place("same") as place:
            asked.append(place.replica.url)
        return asked

    assert run_virtually(lose()) == ["a", *["b"] * 40]


def test_who_is_cancelled_while_it_waits_takes_no_place() -> None:
    async def cancel() -> int:
        replicas = Replicas(["a"], lambda: Window(1, 1, 1), MOST)
        async with replicas.place("x") as place:
            waiting = [asyncio.create_task(replicas.place("y").__aenter__()) for _ in range(3)]
            await asyncio.sleep(1)
            for task in waiting:
                task.cancel()
            place.answered(1)
            await asyncio.wait(waiting)
        async with replicas.place("z"):
            return place.replica.window.open

    assert run_virtually(cancel()) == 1
