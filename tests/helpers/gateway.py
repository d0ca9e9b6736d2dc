"""A gateway as people rent them: several models behind one URL, a key for each, a limit by the minute, failures now and
then, content filters. What it answers hangs on the model, the question and its seed alone, so that every run comes to
the same.
"""

from __future__ import annotations

import hashlib
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from tests.helpers.scripted_endpoint import Script, said

Reply = tuple[Any, ...]
JUDGE, ANNOTATOR = "judge-large", "annotator-large"
MINUTE_S, BY_THE_MINUTE = 0.6, 40  # its minutes are short, so that a test can outlast many of them
FAILS_EVERY = 9  # questions
FAILURES: tuple[Reply, ...] = (
    (502, "<html>bad gateway</html>"),
    (200, {"error": {"message": "Provider returned error", "code": 502}}),
    (503, {"error": {"message": "overloaded"}}),
    (200, {"id": "x", "object": "chat.completion", "choices": []}),
    (500, {"error": {"message": "internal error", "type": "server_error"}}),
)
TOO_LONG = {"error": {"message": "This model's maximum context length is 8192 tokens. However, ...", "code": 400}}
FILTERED = {"error": {"code": "content_filter", "message": "The response was filtered"}}
WORDS = ("river", "bridge", "garden", "letter", "market", "winter", "window", "recipe", "journey", "museum", "lantern")


class Gateway(Script):
    """`keys` are those of the models by name; every other model listed by `policies`, whose key is `policy_key`.

    `answered` are the questions by kind that got an end, a text or a reason, each once: (model, question, seed).
    """

    def __init__(self, keys: Mapping[str, str], policies: Callable[[], list[str]], policy_key: str) -> None:
        super().__init__(self._reply, {"/v1/models": self._models})
        self.keys, self.policies, self.policy_key = keys, policies, policy_key
        self.answered: dict[str, set[tuple[str, str, int]]] = {}
        self.refusals: Counter[str] = Counter()
        self._minutes: Counter[tuple[str, int]] = Counter()
        self._turn = threading.Lock()

    def _models(self) -> dict[str, Any]:
        return {"data": [{"id": name} for name in [*self.keys, *self.policies()]]}

    def _reply(self, number: int, body: dict[str, Any]) -> Reply:
        model, question = body["model"], body["messages"][-1]["content"]
        key = self.keys.get(model) or self.policy_key
        if self.headers[number - 1].get("Authorization") != f"Bearer {key}":
            self.refusals["key"] += 1
            return 401, {"error": {"message": "Incorrect API key provided"}}
        with self._turn:
            now = time.monotonic()
            minute = (key, int(now / MINUTE_S))
            self._minutes[minute] += 1
            if self._minutes[minute] > BY_THE_MINUTE:
                self.refusals["limit"] += 1
                left = MINUTE_S - now % MINUTE_S
                return 429, {"error": {"message": "Rate limit reached for requests"}}, {"Retry-After": f"{left:.2f}"}
        if number % FAILS_EVERY == 0:
            self.refusals["failure"] += 1
            return FAILURES[number // FAILS_EVERY % len(FAILURES)]
        return self._answer(model, question, body)

    def _answer(self, model: str, question: str, body: dict[str, Any]) -> Reply:
        if "seed" not in body:
            return said("Hello.")  # the one question before any work
        kind, answer = next((kind, answer) for mark, kind, answer in KINDS if mark in question)
        with self._turn:
            self.answered.setdefault(kind, set()).add((model, question, body["seed"]))
        drawn = int.from_bytes(hashlib.sha256(f"{model}|{question}|{body['seed']}".encode()).digest()[:8], "big")
        fate, drawn = drawn % 20, drawn // 20
        if fate < len(FATES):
            return FATES[fate]
        return answer(question, drawn, body)


# What becomes of six questions of twenty: they get no text, or none that is whole.
FATES: tuple[Reply, ...] = (
    (400, TOO_LONG),
    (400, FILTERED),
    said("Half a", "content_filter"),
    said("<think>never done"),
    said("cut off", "length"),
    said("Half a", "abort"),
)


def _task(question: str, drawn: int, body: dict[str, Any]) -> Reply:
    if drawn % 11 == 0:
        return said("I'm sorry, but I can't help with that request.")
    return said(f"Sure! Here is one more task: Describe a {_words(drawn, 7)} to me.")


def _words(drawn: int, count: int) -> str:
    return " ".join(WORDS[drawn // len(WORDS) ** n % len(WORDS)] for n in range(count))


def _judgement(question: str, drawn: int, body: dict[str, Any]) -> Reply:
    ends = ("Score: 1", "Score: 2", "**Score: 3**", "Score: 4/5", "Score: 5", "Score: 3 - 4")
    return said(f"<think>Score: 0?</think>It is relevant and says some of what was asked for.\n{ends[drawn % 6]}")


def _preference(question: str, drawn: int, body: dict[str, Any]) -> Reply:
    if drawn % 7 == 0:
        return said("Neither of them.", logprobs=[("Neither", -0.1)])
    share = (drawn % 97 + 1) / 99
    return said("m" if share > 0.5 else "M", logprobs=[("m", math.log(share)), ("M", math.log(1 - share))])


def _verdict(question: str, drawn: int, body: dict[str, Any]) -> Reply:
    return said(f"Both are short.\nVerdict: {('A', 'B', 'tie', 'A or B')[drawn % 4]}")


def _text(question: str, drawn: int, body: dict[str, Any]) -> Reply:
    return said(f"The {_words(drawn, 3 + drawn % 5)}.")


KINDS: tuple[tuple[str, str, Callable[[str, int, dict[str, Any]], Reply]], ...] = (
    ("Below are tasks that people have given", "task", _task),
    ("Write the criteria and nothing else", "rubric", _text),
    ("Verdict: tie", "comparison", _verdict),  # first: of judgements it shows the judge prompt
    ("Score: <total points>", "judgement", _judgement),
    ('<output model="m">', "preference", _preference),
    ("", "text", _text),
)
