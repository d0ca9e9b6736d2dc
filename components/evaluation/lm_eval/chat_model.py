"""A served model as the lm-eval harness wants it, through our client: with its retries, its progress, its reuse."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from lm_eval.api.model import LM

from components.core.errors import UserError
from components.core.hashing import seed_from, short_id
from components.core.records import Messages, Record
from components.core.stage import Stage
from components.evaluation.lm_eval.settings import BenchmarksSettings
from components.serving.answers import PROMPT_TOO_LONG, unanswered
from components.serving.client import Request, Sampling
from components.serving.completions import Batch, Endpoint, complete

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance

Questions = dict[str, set[int]]  # by task: the harness's numbers of what was asked, from 0
MOST_STOP_SEQUENCES = 4  # what TGI and OpenAI take; the text is cut here at all of them


class HarnessAnswer(Record):
    """The answer to one request of the harness; `id` is a hash of the request."""

    text: str
    finish_reason: str
    tokens: int


class ChatModel(LM):  # type: ignore[misc]
    """Generates by chat completions. The harness hands conversations over as strings: here they are JSON."""

    tokenizer_name = "served"  # the harness names a cache after it that is not used here
    too_long: Questions
    unanswered: Questions

    def __init__(self, stage: Stage, settings: BenchmarksSettings, endpoint: Endpoint) -> None:
        super().__init__()
        self._stage, self._settings, self._endpoint = stage, settings, endpoint
        self.too_long, self.unanswered = {}, {}

    def apply_chat_template(self, chat_history: Messages, add_generation_prompt: bool = True) -> str:
        return json.dumps(chat_history)

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """The answers, each cut before the first of its request's stop sequences; equal requests are asked once.

        A question without an answer gets "", and is noted in `too_long` or, for any other reason, in `unanswered`.
        """
        ours = [self._request(*instance.args) for instance in requests]
        asked = Batch(
            "benchmark_answers",
            HarnessAnswer,
            list({request.id: request for request in ours}.values()),
            lambda request, made: HarnessAnswer(
                id=request.id, text=made.text, finish_reason=made.finish_reason, tokens=made.tokens
            ),
            self._settings.concurrency,
        )
        answers = complete(self._stage, self._endpoint, asked)
        by_id = {answer.id: answer for answer in answers}
        cut = []
        for request, instance in zip(ours, requests, strict=True):
            text = by_id[request.id].text
            finish_reason = by_id[request.id].finish_reason
            if unanswered(finish_reason):
                missing = self.too_long if finish_reason == PROMPT_TOO_LONG else self.unanswered
                missing.setdefault(str(instance.task_name), set()).add(int(instance.doc_id or 0))
            for mark in _stop_sequences(instance.args[1]):
                text = text.partition(mark)[0]
            cut.append(text)
        return cut

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        names = sorted({str(instance.task_name) for instance in requests})
        raise UserError(
            f"{', '.join(names)} scores given texts, which a chat endpoint cannot do",
            "Take the task's generative form (arc_challenge_chat, mmlu_generative) or set benchmarks.api: completions.",
        )

    def loglikelihood_rolling(self, requests: list[Instance]) -> list[float]:
        self.loglikelihood(requests)
        return []

    def _request(self, conversation: str, arguments: dict[str, Any]) -> Request:
        """`arguments` are the task's generation_kwargs."""
        temperature = float(arguments.get("temperature") or 0.0) if arguments.get("do_sample", True) else 0.0
        tokens = int(arguments.get("max_gen_toks") or arguments.get("max_tokens") or self._settings.max_tokens)
        stop = tuple(_stop_sequences(arguments)[:MOST_STOP_SEQUENCES])
        id = short_id(conversation, str(temperature), tokens, *stop)
        top_p, room = float(arguments.get("top_p") or 1.0), self._settings.reasoning_tokens
        sampling = Sampling(temperature, top_p, tokens, stop, reasoning_tokens=room)
        return Request(id, json.loads(conversation), sampling, seed_from(self._settings.seed, "benchmark", id))


def _stop_sequences(arguments: dict[str, Any]) -> list[str]:
    until = arguments.get("until") or []
    return [until] if isinstance(until, str) else [mark for mark in until if mark]
