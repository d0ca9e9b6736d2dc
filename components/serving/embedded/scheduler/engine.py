"""The decode thread: admits waiting requests into the running batch, decodes, answers."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, replace

import torch

from components.serving.embedded.decoding.batch import Batch, merge
from components.serving.embedded.decoding.prefill import Prefiller
from components.serving.embedded.decoding.sampling import choose_tokens, token_logprobs
from components.serving.embedded.decoding.sequences import Sequence, finished
from components.serving.embedded.model.forward import Forward
from components.serving.embedded.model.loading import LoadedModel
from components.serving.embedded.model.metrics import Metrics
from components.serving.embedded.scheduler.queue import BatchBudget, RequestQueue

log = logging.getLogger(__name__)

# TGI's defaults of the same names. Reading prompts stops the running sequences, so newcomers wait until they are this
# many for each running sequence, or for this many steps.
WAITING_SERVED_RATIO = 0.3
MAX_WAITING_TOKENS = 20
# Of a GPU's free memory, for keys and values: as much again while a batch is laid out, and the rest for what a forward
# pass needs. On a CPU, whose memory others use, too: so many tokens.
KEYS_SHARE, CPU_TOKENS = 0.4, 16384


class GenerationError(Exception):
    """Decoding failed; the request may be sent again."""


@dataclass(frozen=True)
class Limits:
    """What the engine takes on.

    max_batch_total_tokens bounds the memory of keys and values: 46 kB a token for a 135M Llama in fp32, so the default
    is 0.75 GB. Laying out a batch needs up to as much again for a moment. 0: what a GPU has free; on a CPU the default.
    """

    max_batch: int = 48
    max_queue: int = 1024
    max_total_tokens: int = 2048
    max_batch_total_tokens: int = CPU_TOKENS
    sharing: bool = True


class Engine:
    """Continuous batching on one thread. Sequences are admitted between steps and leave when they are finished."""

    def __init__(self, loaded: LoadedModel, limits: Limits, metrics: Metrics) -> None:
        self.loaded = loaded
        self.queue = RequestQueue(limits.max_queue)
        self._metrics = metrics
        self._forward = Forward(loaded.model, metrics)
        tokens = limits.max_batch_total_tokens or self._fitting_tokens()
        self.limits = replace(limits, max_batch_total_tokens=tokens)
        self._prefiller = Prefiller(self._forward, metrics, limits.sharing)
        self._batch: Batch | None = None
        self._steps_since_merge = 0
        self._thread = threading.Thread(target=self._run, name="decode", daemon=True)

    def start(self) -> None:
        """Begin to decode."""
        self._thread.start()

    def stop(self) -> None:
        """End the decode thread; what is being decoded is lost."""
        self.queue.close()
        self._thread.join()

    def submit(self, sequence: Sequence) -> None:
        """Queue a request; its future will hold the answer. Raises OverloadedError when the queue is full."""
        self.queue.put(sequence)

    def _run(self) -> None:
        while not self.queue.closed:
            if not self._batch:
                self.queue.wait(timeout_s=1.0)
            self.step()

    @torch.inference_mode()
    def step(self) -> None:
        """Admit waiting sequences if it is time, then decode one token for every sequence. Never raises."""
        running = self._batch.sequences if self._batch else []
        admitted = self._admit(running)
        try:
            if admitted:
                self._batch = merge(self._batch, self._prefiller.read(admitted))
                self._steps_since_merge = 0
            if self._batch:
                self._decode(self._batch)
        except torch.OutOfMemoryError as error:
            self._take_less([*dict.fromkeys([*running, *admitted])], str(error))
        except Exception as error:
            lost = {*admitted, *running}
            log.exception("decoding failed for %d requests", len(lost))
            failure = GenerationError(f"{type(error).__name__}: {error}")
            for sequence in lost:
                sequence.fail(failure)
            self._batch = None
        self._metrics.batch_current_size = len(self._batch.sequences) if self._batch else 0

    def _take_less(self, sequences: list[Sequence], error: str) -> None:
        """The GPU did not hold the batch: from now on batches are half as large, and its requests begin anew.

        A request that was alone is answered with the error.
        """
        self._batch = None
        longest = max(sequence.max_length for sequence in sequences)
        if len(sequences) == 1:
            remedy = "lower serving.max_total_tokens, or take a larger GPU"
            sequences[0].fail(
                GenerationError(f"the GPU does not hold one text of {longest} tokens: {remedy} ({error})")
            )
            return
        tokens = min(self.limits.max_batch_total_tokens, len(sequences) * longest) // 2
        self.limits = replace(self.limits, max_batch_total_tokens=tokens)
        log.warning("the GPU does not hold %d requests at once: from now on %d tokens", len(sequences), tokens)
        for sequence in sequences:
            sequence.restart()
        self.queue.put_back(sequences)

    def _fitting_tokens(self) -> int:
        if self.loaded.model.device.type != "cuda":
            return CPU_TOKENS
        free, _ = torch.cuda.mem_get_info(self.loaded.model.device)
        return max(CPU_TOKENS, int(KEYS_SHARE * free) // self._forward.bytes_per_token)

    def _admit(self, running: list[Sequence]) -> list[Sequence]:
        """Take from the queue what fits into the batch, unless too few wait to interrupt the running sequences."""
        few = len(self.queue) < WAITING_SERVED_RATIO * len(running)
        if few and self._steps_since_merge < MAX_WAITING_TOKENS:
            return []
        shared = self._batch.prefix.tokens if self._batch else None
        budget = BatchBudget(
            running,
            shared if self.limits.sharing else (),
            self.limits.max_batch,
            self.limits.max_batch_total_tokens,
        )
        return self.queue.take_while(budget.accept)

    def _decode(self, batch: Batch) -> None:
        """One token for each sequence; answers and removes those that are finished."""
        logits = batch.next_logits(self._forward)
        chosen = choose_tokens(logits, [sequence.sampler for sequence in batch.sequences])
        top_logprobs = [sequence.top_logprobs for sequence in batch.sequences]
        for index, logprobs in token_logprobs(logits, chosen, top_logprobs).items():
            batch.sequences[index].logprobs.append(logprobs)
        self._steps_since_merge += 1
        # Backwards, because removing a sequence moves the last one into its place.
        for index in reversed(range(len(chosen))):
            sequence = batch.sequences[index]
            sequence.generated.append(chosen[index])
            answer = finished(sequence, self.loaded.tokenizer)
            if answer:
                sequence.succeed(*answer)
            if answer or sequence.future.cancelled():
                batch.remove(index)
        if not batch.sequences:
            self._batch = None
