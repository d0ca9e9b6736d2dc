"""The decode thread: takes waiting requests into the running batch, decodes, answers."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass

import torch

from components.serving.embedded.batch import Batch, join
from components.serving.embedded.forward import Forward
from components.serving.embedded.loading import LoadedModel
from components.serving.embedded.logprobs import token_logprobs
from components.serving.embedded.metrics import Metrics
from components.serving.embedded.prefill import Prefiller
from components.serving.embedded.queue import RequestQueue, Room
from components.serving.embedded.rows import Row
from components.serving.embedded.sampling import choose_tokens
from components.serving.embedded.stopping import finish

log = logging.getLogger(__name__)

# TGI's defaults of the same names. Reading prompts stops the running rows, so newcomers wait until they are this many
# for each running row, or for this many steps.
WAITING_SERVED_RATIO = 0.3
MAX_WAITING_TOKENS = 20


class GenerationError(Exception):
    """Decoding failed; the request may be sent again."""


@dataclass(frozen=True)
class Limits:
    """What the engine takes on.

    max_batch_total_tokens bounds the memory of keys and values: 46 kB a token for a 135M Llama in fp32, so the default
    is 0.75 GB. Laying out a batch needs up to as much again for a moment.
    """

    max_batch: int = 48
    max_queue: int = 1024
    max_total_tokens: int = 2048
    max_batch_total_tokens: int = 16384
    sharing: bool = True


class Engine:
    """Continuous batching on one thread. Rows join between steps and leave when they are finished."""

    def __init__(self, loaded: LoadedModel, limits: Limits, metrics: Metrics) -> None:
        self.loaded = loaded
        self.limits = limits
        self._metrics = metrics
        self._queue = RequestQueue(limits.max_queue)
        self._forward = Forward(loaded.model, metrics)
        self._prefiller = Prefiller(self._forward, metrics, limits.sharing)
        self._batch: Batch | None = None
        self._steps_since_join = 0
        self._thread = threading.Thread(target=self._run, name="decode", daemon=True)

    def start(self) -> None:
        """Begin to decode."""
        self._thread.start()

    def stop(self) -> None:
        """End the decode thread; what is being decoded is lost."""
        self._queue.close()
        self._thread.join()

    def submit(self, row: Row) -> None:
        """Queue a request; its future will hold the answer. Raises OverloadedError when the queue is full."""
        self._queue.put(row)

    @property
    def queue_size(self) -> int:
        return len(self._queue)

    def _run(self) -> None:
        while not self._queue.closed:
            if not self._running():
                self._queue.wait(seconds=1.0)
            self.turn()

    @torch.inference_mode()
    def turn(self) -> None:
        """Let waiting rows in if it is time, then decode one token for every row. Never raises."""
        newcomers = self._newcomers()
        try:
            if newcomers:
                self._let_in(newcomers)
            if self._batch:
                self._step(self._batch)
        except Exception as error:
            log.exception("decoding failed for %d requests", len({*newcomers, *self._running()}))
            failure = GenerationError(f"{type(error).__name__}: {error}")
            for row in {*newcomers, *self._running()}:
                row.fail(failure)
            self._batch = None
        self._metrics.batch_current_size.set(len(self._running()))

    def _running(self) -> list[Row]:
        return self._batch.rows if self._batch else []

    def _newcomers(self) -> list[Row]:
        running, waiting = self._running(), len(self._queue)
        if waiting < WAITING_SERVED_RATIO * len(running) and self._steps_since_join < MAX_WAITING_TOKENS:
            return []
        shared = self._batch.prefix.tokens if self._batch else None
        room = Room(
            running,
            shared if self.limits.sharing else (),
            self.limits.max_batch,
            self.limits.max_batch_total_tokens,
        )
        return self._queue.take_while(room.accept)

    def _let_in(self, newcomers: list[Row]) -> None:
        parts = self._prefiller.read(newcomers)
        self._batch = join([self._batch.as_part(), *parts] if self._batch else parts)
        self._steps_since_join = 0

    def _step(self, batch: Batch) -> None:
        logits = batch.next_logits(self._forward)
        chosen = choose_tokens(logits, [row.sampler for row in batch.rows])
        for index, logprobs in token_logprobs(logits, chosen, [row.alternatives for row in batch.rows]).items():
            batch.rows[index].logprobs.append(logprobs)
        self._steps_since_join += 1
        # Backwards, because removing a row moves the last one into its place.
        for index in reversed(range(len(chosen))):
            row = batch.rows[index]
            row.generated.append(chosen[index])
            ended = finish(row, self.loaded.tokens)
            if ended:
                row.succeed(*ended)
            if ended or row.future.cancelled():
                batch.remove(index)
        if not batch.rows:
            self._batch = None
