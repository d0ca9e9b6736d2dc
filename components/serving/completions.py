"""Make the completions that a stage still lacks: the one loop behind prompts, sampling, judging and evaluation."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from components.core.errors import UserError
from components.core.ledger import spent, waited
from components.core.progress import Progress, say, warn
from components.core.records import Parent, Record
from components.core.stage import Stage, parent
from components.serving.address import Address, address_of
from components.serving.client import Client, Completion, Request
from components.serving.description import endpoint_identity, resolve
from components.serving.patience import RetryPolicy

LONGEST_SILENCE_S = 25.0  # after which it is said for what one waits; the step says after 30 only that it does
SAVE_INTERVAL_S = 5.0  # what a killed run loses at most
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
    """Questions of one kind, of which each becomes a record of a stage; at most `concurrency` are asked at a time."""

    kind: str
    record: type[R]
    requests: Sequence[Request]
    make: Callable[[Request, Completion], R]
    concurrency: int
    made: dict[str, R] = field(default_factory=dict)

    @property
    def records(self) -> list[R]:
        """One a request, in the order of the requests, once all are complete."""
        return [self.made[request.id] for request in self.requests]

    def resume(self, stage: Stage) -> list[Request]:
        """Take what an earlier attempt at the stage made; returns what is missing."""
        self.made = stage.load_progress(self.kind, self.record)
        missing = [request for request in self.requests if request.id not in self.made]
        if reused := len(self.requests) - len(missing):
            say(f"{stage.name}: reusing {reused} of {len(self.requests)} {self.kind} (same inputs, same settings)")
        return missing


def complete(stage: Stage, endpoint: Endpoint, batch: Batch[R]) -> list[R]:
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
    asked = [(batch, request) for batch in batches for request in missing[batch.kind]]
    if not asked:
        return
    kinds = ", ".join(kind for kind, requests in missing.items() if requests)
    if not endpoint:
        raise UserError(
            f"{len(asked)} {kinds} of {stage.uri} are missing, but no model is served",
            "Something was deleted from the store while the run was on: run again.",
        )
    saver, total = _Saver(stage), sum(len(batch.requests) for batch in batches if missing[batch.kind])
    with Progress(kinds, total, done=total - len(asked)) as progress:

        def receive(batch: Batch[Any], request: Request, completion: Completion) -> None:
            made = batch.made[request.id] = batch.make(request, completion)
            saver.add(batch.kind, made)
            progress.advance()

        try:
            concurrency, address = max(batch.concurrency for batch, _ in asked), endpoint_address(endpoint)
            with spent("engine"):
                asyncio.run(_request_all(address, concurrency, asked, receive))
        finally:
            saver.flush()


class _Saver:
    """Saves records under a stage every few seconds."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._unsaved: dict[str, list[Record]] = {}
        self._last_save = time.monotonic()

    def add(self, kind: str, record: Record) -> None:
        self._unsaved.setdefault(kind, []).append(record)
        if time.monotonic() - self._last_save > SAVE_INTERVAL_S:
            self.flush()

    def flush(self) -> None:
        for kind, records in self._unsaved.items():
            self._stage.save_progress(kind, records)
        self._unsaved = {}
        self._last_save = time.monotonic()


async def _request_all(
    address: Address,
    concurrency: int,
    asked: Sequence[tuple[Batch[Any], Request]],
    receive: Callable[[Batch[Any], Request, Completion], None],
) -> None:
    """Workers that share one queue: the first failure ends them all."""
    client = Client(address, RetryPolicy(patience=address.patience), concurrency=concurrency)
    queue = iter(asked)

    async def worker() -> None:
        for batch, request in queue:
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
            for _ in range(min(concurrency + client.replicas.ahead, len(asked))):
                workers.create_task(worker())
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None  # the first one; the others were cancelled for it
    finally:
        telling.cancel()
        waited(client.circuit.lost)
        await client.close()
