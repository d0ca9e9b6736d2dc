"""Make the completions that a stage still lacks: the one loop behind prompts, sampling, judging and evaluation."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

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


def complete(
    stage: Stage,
    kind: str,
    record: type[R],
    requests: Sequence[Request],
    make: Callable[[Request, Completion], R],
    endpoint: Endpoint,
    concurrency: int,
) -> list[R]:
    """One record a request, in the order of the requests.

    Records of an earlier attempt are kept by id; only the missing ones are asked for, at most `concurrency` at a time,
    and saved under the stage as they come. Raises UserError when work is missing and there is no endpoint, or when the
    endpoint gives up.
    """
    kept = stage.load_progress(kind, record)
    missing = [request for request in requests if request.id not in kept]
    reused = len(requests) - len(missing)
    if reused:
        say(f"{stage.name}: reusing {reused} of {len(requests)} {kind} (same inputs, same settings)")
    if not missing:
        return [kept[request.id] for request in requests]
    if not endpoint:
        raise UserError(
            f"{len(missing)} {kind} of {stage.uri} are missing, but no model is served",
            "Something was deleted from the store while the run was on: run again.",
        )
    saver = _Saver(stage, kind)
    with Progress(kind, len(requests), done=reused) as progress:

        def receive(request: Request, completion: Completion) -> None:
            made = kept[request.id] = make(request, completion)
            saver.add(made)
            progress.advance()

        try:
            address = endpoint_address(endpoint)
            with spent("engine"):
                asyncio.run(_request_all(address, concurrency, missing, receive))
        finally:
            saver.flush()
    return [kept[request.id] for request in requests]


class _Saver:
    """Saves records under a stage every few seconds."""

    def __init__(self, stage: Stage, kind: str) -> None:
        self._stage, self._kind = stage, kind
        self._unsaved: list[Record] = []
        self._last_save = time.monotonic()

    def add(self, record: Record) -> None:
        self._unsaved.append(record)
        if time.monotonic() - self._last_save > SAVE_INTERVAL_S:
            self.flush()

    def flush(self) -> None:
        self._stage.save_progress(self._kind, self._unsaved)
        self._unsaved = []
        self._last_save = time.monotonic()


async def _request_all(
    address: Address,
    concurrency: int,
    requests: Sequence[Request],
    receive: Callable[[Request, Completion], None],
) -> None:
    """Workers that share one queue: the first failure ends them all."""
    client, queue = Client(address, RetryPolicy(patience=address.patience)), iter(requests)

    async def worker() -> None:
        for request in queue:
            receive(request, await client.complete(request))

    async def tell() -> None:
        while True:
            await asyncio.sleep(LONGEST_SILENCE_S)
            if client.circuit.silent >= LONGEST_SILENCE_S:
                said = f"still waiting for {client.open} answers of {client.address.shown}, the last came"
                said += f" {client.circuit.silent:.0f} s ago" if client.circuit.answers else " never"
                warn(said + (f" ({client.circuit.problem})" if client.circuit.problem else ": it says nothing"))

    telling = asyncio.create_task(tell())
    try:
        async with asyncio.TaskGroup() as workers:
            for _ in range(min(concurrency, len(requests))):
                workers.create_task(worker())
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None  # the first one; the others were cancelled for it
    finally:
        telling.cancel()
        waited(client.circuit.lost)
        await client.close()
