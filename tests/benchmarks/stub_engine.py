"""`python -m tests.benchmarks.stub_engine REPLICAS`: an engine that answers as fast as its service curve says.

With n requests in work a replica takes BASE_S (1 + n / HALF) for each: its throughput rises towards HALF / BASE_S, and
is at half of that with HALF requests. It works at SLOTS at most; others wait. Prints the port behind which all are, by
turns, and that of each.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
from collections.abc import Iterator

BASE_S, HALF, SLOTS = 1.0, 32, 128
ANSWER = json.dumps(
    {
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "An answer."}}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2},
        "model": "stub",
    }
).encode()
MODELS = json.dumps({"data": [{"id": "stub"}]}).encode()


def best_throughput(replicas: int, in_flight: int | None = None) -> float:
    """Answers a second with so many requests in flight, evenly over the replicas; None: as many as they take."""
    each = SLOTS if in_flight is None else min(SLOTS, in_flight / replicas)
    return replicas * each / (BASE_S * (1 + each / HALF))


class Replica:
    def __init__(self) -> None:
        self.slots, self.busy = asyncio.Semaphore(SLOTS), 0

    async def work(self) -> None:
        """One answer; its time is that of the load that it meets when it begins."""
        async with self.slots:
            self.busy += 1
            await asyncio.sleep(BASE_S * (1 + self.busy / HALF))
            self.busy -= 1


async def port_of(turn: Iterator[Replica]) -> int:
    """Of a server whose requests go to these replicas, one after the other."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
                await reader.readexactly(int(lengths[0].split(b":")[1]) if lengths else 0)
                if head.startswith(b"POST"):
                    await next(turn).work()
                body = ANSWER if head.startswith(b"POST") else MODELS
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n")
                writer.write(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0, backlog=1024)
    port: int = server.sockets[0].getsockname()[1]
    return port


async def serve(number: int) -> None:
    replicas = [Replica() for _ in range(number)]
    ports = [await port_of(itertools.cycle(those)) for those in (replicas, *([one] for one in replicas))]
    print(*ports, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
