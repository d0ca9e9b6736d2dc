"""Make the completions that a stage still lacks: the one loop behind prompts, sampling, judging and evaluation."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from components.core.errors import UserError
from components.core.ledger import spent, waited
from components.core.progress import Progress, say, warn
from components.core.record_table import Again, RecordTable
from components.core.records import Parent, Record
from components.core.stage import Stage, parent
from components.serving.address import Address, address_of
from components.serving.client import Client, Completion, Request
from components.serving.description import endpoint_identity, resolve
from components.serving.patience import RetryPolicy

LONGEST_SILENCE_S = 25.0  # after which it is said for what one waits; the step says after 30 only that it does
SAVE_INTERVAL_S, SAVED_AT_ONCE = 5.0, 2_000  # what a killed run loses at most: seconds, records
R = TypeVar("R", bound=Record)
# Where to ask, or what says so when it is first needed (engines/served_model.py): a stage that is finished, and one
# whose records are all there, ask nobody.
Endpoint = str | Address | Callable[[], str | Address]


def answering_model(model: str, endpoint: Endpoint) -> Parent:
    """Who answers, as an input: the model stage `model`, or where that is "" what the endpoint says it serves."""
    if model:
        return parent(model)
    address = endpoint_address(endpoint)
    return Parent(uri=address.shown, digest=endpoint_identity(address))


def endpoint_address(endpoint: Endpoint) -> Address:
    """Where to ask, with the model's name there; serves the model first where that is still to be done."""
    with spent("starting"):
        return resolve(address_of(endpoint() if callable(endpoint) else endpoint))


@dataclass
class Batch(Generic[R]):
    """Questions of one kind, of which each becomes a record of a stage; at most `concurrency` are asked at a time.

    The requests are gone through several times and never held; what is made lies on this machine's disk.
    """

    kind: str
    record: type[R]
    requests: Iterable[Request]
    make: Callable[[Request, Completion], R]
    concurrency: int
    made: RecordTable[R] = field(init=False)
    total: int = 0

    @property
    def records(self) -> Again[R]:
        """One a request, in the order of the requests, once all are complete."""
        return Again(lambda: (self.made[request.id] for request in self.requests))

    @property
    def missing(self) -> Iterator[Request]:
        """What is not made yet, at the moment when one comes to it."""
        return (request for request in self.requests if request.id not in self.made)

    def resume(self, stage: Stage) -> int:
        """Take what an earlier attempt at the stage made; returns how many are missing."""
        self.made = stage.load_progress(self.kind, self.record)
        self.total = reused = 0
        for request in self.requests:
            self.total += 1
            reused += request.id in self.made
        if reused:
            say(f"{stage.name}: reusing {reused} of {self.total} {self.kind} (same inputs, same settings)")
        return self.total - reused


def complete(stage: Stage, endpoint: Endpoint, batch: Batch[R]) -> Again[R]:
    """One record a request, in the order of the requests. Raises UserError as `complete_together` does."""
    complete_together(stage, endpoint, [batch])
    return batch.records


def complete_together(stage: Stage, endpoint: Endpoint, batches: Sequence[Batch[Any]]) -> None:
    """Complete batches that ask the same server, all at once: their tails do not wait for one another.

    Records of an earlier attempt are kept by id; only the missing ones are asked for, in the batches' order, at most
    the largest `concurrency` at a time, and saved under the stage as they come. Raises UserError when work is missing
    and there is no endpoint, or when the endpoint gives up.
    """
    missing = {batch.kind: batch.resume(stage) for batch in batches}
    left, asking = sum(missing.values()), [batch for batch in batches if missing[batch.kind]]
    if not left:
        return
    kinds = ", ".join(batch.kind for batch in asking)
    if not endpoint:
        raise UserError(
            f"{left} {kinds} of {stage.uri} are missing, but no model is served",
            "Something was deleted from the store while the run was on: run again.",
        )
    saver, total = _Saver(stage), sum(batch.total for batch in asking)
    with Progress(kinds, total, done=total - left) as progress:

        def receive(batch: Batch[Any], request: Request, completion: Completion) -> None:
            made = batch.make(request, completion)
            batch.made.add([made])
            saver.add(batch.kind, made)
            progress.advance()

        try:
            most, address = max(batch.concurrency for batch in asking), endpoint_address(endpoint)
            asked = ((batch, request) for batch in asking for request in batch.missing)
            with spent("engine"):
                asyncio.run(_request_all(address, most, left, asked, receive))
        finally:
            saver.flush()


class _Saver:
    """Saves records under a stage every few seconds."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._unsaved: dict[str, list[Record]] = {}
        self._last_save = time.monotonic()

    def add(self, kind: str, record: Record) -> None:
        unsaved = self._unsaved.setdefault(kind, [])
        unsaved.append(record)
        if len(unsaved) >= SAVED_AT_ONCE or time.monotonic() - self._last_save > SAVE_INTERVAL_S:
            self.flush()

    def flush(self) -> None:
        for kind, records in self._unsaved.items():
            self._stage.save_progress(kind, records)
        self._unsaved = {}
        self._last_save = time.monotonic()


async def _request_all(
    address: Address,
    concurrency: int,
    left: int,
    asked: Iterator[tuple[Batch[Any], Request]],
    receive: Callable[[Batch[Any], Request, Completion], None],
) -> None:
    """Workers share what is asked, `left` in number: the first failure ends them all."""
    client = Client(address, RetryPolicy(patience=address.patience), concurrency=concurrency)

    async def worker() -> None:
        for batch, request in asked:
            receive(batch, request, await client.complete(request))

    async def tell() -> None:
        while True:
            await asyncio.sleep(LONGEST_SILENCE_S)
            if client.circuit.silent >= 0.9 * LONGEST_SILENCE_S:  # both began at about the same moment
                flying = min(client.open, client.replicas.limit)
                said = f"still waiting for {flying} answers of {client.address.shown}, "
                ago = f"the last came {client.circuit.silent:.0f} s ago" if client.circuit.answers else "none came yet"
                warn(said + ago + (f" ({client.circuit.problem})" if client.circuit.problem else ": it says nothing"))

    telling = asyncio.create_task(tell())
    try:
        async with asyncio.TaskGroup() as workers:
            for _ in range(min(concurrency + client.replicas.ahead, left)):
                workers.create_task(worker())
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None  # the first one; the others were cancelled for it
    finally:
        telling.cancel()
        waited(client.circuit.lost)
        await client.close()
