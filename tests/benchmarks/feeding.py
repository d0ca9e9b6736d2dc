"""Feeding an engine: what `complete` gets out of a server whose throughput grows with the requests in flight until it
is full, as real engines' does (stub_engine.py), beside a plain loop with a semaphore."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager

from components.core.records import PromptAttempt
from components.core.stage import Stage
from components.prompts.settings import PromptsSettings
from components.serving.address import Address
from components.serving.client import Completion, Request
from components.serving.completions import Batch, complete
from tests.benchmarks.row import Row
from tests.benchmarks.stub_engine import best_throughput
from tests.helpers.paths import ROOT

SETTINGS = PromptsSettings()  # with the default concurrency


@contextmanager
def stub(replicas: int) -> Iterator[list[str]]:
    """Its URL, and those of its replicas."""
    command = [sys.executable, "-m", "tests.benchmarks.stub_engine", str(replicas)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        yield [f"http://127.0.0.1:{port}" for port in process.stdout.readline().split()]
        process.kill()


def numbered(number: int) -> list[Request]:
    """So many requests, each for another text."""
    sampling = SETTINGS.sampling(())
    return [Request(str(n), [{"role": "user", "content": str(n)}], sampling, n) for n in range(number)]


def ours(urls: list[str], requests: list[Request]) -> list[float]:
    """The times at which the answers came. As on a cluster, each of several replicas can be asked by itself."""
    url, replicas = urls[0], urls[1:]
    address = Address(url, replicas=(lambda: replicas) if len(replicas) > 1 else None)
    times: list[float] = []

    def make(request: Request, answer: Completion) -> PromptAttempt:
        times.append(time.perf_counter())
        return PromptAttempt(id=request.id, text=answer.text, finish_reason=answer.finish_reason, tokens=answer.tokens)

    with tempfile.TemporaryDirectory() as root:
        batch = Batch("attempts", PromptAttempt, requests, make, SETTINGS.concurrency)
        complete(Stage(root, "prompts", SETTINGS, {}), address, batch)
    return times


def plain(url: str, number: int) -> list[float]:
    """The same by a semaphore around requests, 8 at a time as in many scripts."""
    import httpx2

    times: list[float] = []

    async def ask() -> None:
        turns = asyncio.Semaphore(8)
        async with httpx2.AsyncClient(timeout=600, trust_env=False) as client:

            async def one(n: int) -> None:
                async with turns:
                    body = {"model": "stub", "messages": [{"role": "user", "content": str(n)}]}
                    (await client.post(f"{url}/v1/chat/completions", json=body)).raise_for_status()
                    times.append(time.perf_counter())

            await asyncio.gather(*(one(n) for n in range(number)))

    asyncio.run(ask())
    return times


def throughput(times: list[float]) -> float:
    """Answers a second between a fifth and four fifths of them: without beginning and end."""
    first, last = len(times) // 5, len(times) * 4 // 5
    return (last - first) / (times[last] - times[first])


def rows(quick: bool) -> list[Row]:
    made = []
    for replicas in (1, 4):
        number = (500 if quick else 2000) * replicas
        with stub(replicas) as urls:
            times = ours(urls, numbered(number))
            by_eight = throughput(plain(urls[0], number // (8 * replicas)))
        whole = number / (times[-1] - times[0]) / best_throughput(replicas)
        made.append(
            Row(
                f"feeding {replicas} replica{'s' * (replicas > 1)} of a stub engine",
                "answers/s",
                throughput(times),
                "8 at a time",
                by_eight,
                best_throughput(replicas),
                of_limit=0.95,
                note=f"{number:,} requests; {whole:.2f} of the limit with beginning and end",
            )
        )
    return made
