"""A served model as the lm-eval harness wants it, through our client: with its patience, its progress, its reuse."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from lm_eval.api.model import LM

from components.core.errors import UserError
from components.core.hashing import seed_from, short_id
from components.core.records import Messages, Record
from components.core.stage import Stage
from components.evaluation.lm_eval.settings import BenchmarksSettings
from components.serving.client import Completion, Request, Sampling
from components.serving.completions import complete

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance

MOST_STOP_SEQUENCES = 4  # what TGI and OpenAI take; the text is cut here at all of them


class HarnessAnswer(Record):
    """The answer to one request of the harness; `id` is a hash of the request."""

    text: str
    tokens: int


class ChatModel(LM):  # type: ignore[misc]
    """Generates by chat completions. The harness hands conversations over as strings: here they are JSON."""

    tokenizer_name = "served"  # the harness names a cache after it that is not used here

    def __init__(self, stage: Stage, settings: BenchmarksSettings, endpoint: str) -> None:
        super().__init__()
        self._stage, self._settings, self._endpoint = stage, settings, endpoint

    def apply_chat_template(self, chat_history: Messages, add_generation_prompt: bool = True) -> str:
        return json.dumps(chat_history)

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        asked = [self._request(*instance.args) for instance in requests]
        once = list({one.id: one for one in asked}.values())
        answers = complete(
            self._stage, "benchmark_answers", HarnessAnswer, once, _answer, self._endpoint, self._settings.concurrency
        )
        texts = {answer.id: answer.text for answer in answers}
        return [_before(texts[one.id], _until(instance.args[1])) for one, instance in zip(asked, requests, strict=True)]

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        names = sorted({str(instance.task_name) for instance in requests})
        raise UserError(
            f"{', '.join(names)} scores given texts, which a chat endpoint cannot do",
            "Take the task's generative form (arc_challenge_chat, mmlu_generative) or set benchmarks.api: completions.",
        )

    def loglikelihood_rolling(self, requests: list[Instance]) -> list[float]:
        self.loglikelihood(requests)
        return []

    def _request(self, conversation: str, how: dict[str, Any]) -> Request:
        temperature = float(how.get("temperature") or 0.0) if how.get("do_sample", True) else 0.0
        tokens = int(how.get("max_gen_toks") or how.get("max_tokens") or self._settings.max_tokens)
        stop = tuple(_until(how)[:MOST_STOP_SEQUENCES])
        id = short_id(conversation, str(temperature), tokens, *stop)
        sampling = Sampling(temperature, float(how.get("top_p") or 1.0), tokens, stop)
        return Request(id, json.loads(conversation), sampling, seed_from(self._settings.seed, "benchmark", id))


def _answer(request: Request, completion: Completion) -> HarnessAnswer:
    return HarnessAnswer(id=request.id, text=completion.text, tokens=completion.tokens)


def _until(how: dict[str, Any]) -> list[str]:
    until = how.get("until") or []
    return [until] if isinstance(until, str) else [mark for mark in until if mark]


def _before(text: str, marks: list[str]) -> str:
    for mark in marks:
        text = text.partition(mark)[0]
    return text
