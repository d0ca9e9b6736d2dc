"""What real servers get in flight from `complete`, and which of several gets what."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components.core.records import PromptAttempt
from components.core.stage import Stage
from components.pairs.settings import PairsSettings
from components.serving import replicas
from components.serving.address import Address
from components.serving.client import Completion, Request, Sampling
from components.serving.completions import Batch, complete
from components.serving.description import resolve
from components.serving.window import START
from tests.helpers.scripted_endpoint import Script, said


def answered(root: Path, endpoint: Any, texts: list[str], concurrency: int = 64) -> list[PromptAttempt]:
    """One record for each text, in their order."""
    drawn = Sampling(0, 1, 4)
    requests = [Request(str(n), [{"role": "user", "content": text}], drawn, n) for n, text in enumerate(texts)]

    def make(request: Request, answer: Completion) -> PromptAttempt:
        return PromptAttempt(id=request.id, text=answer.text, finish_reason=answer.finish_reason, tokens=answer.tokens)

    stage = Stage(str(root), "pairs", PairsSettings(), {})
    return complete(stage, endpoint, Batch("attempts", PromptAttempt, requests, make, concurrency))


def slow_echo(number: int, body: dict[str, Any]) -> Any:
    time.sleep(0.05)
    return said(body["messages"][0]["content"])


def test_a_server_that_is_not_known_gets_few_at_first(serve: Callable[[Script], str], tmp_path: Path) -> None:
    """64 are allowed: before there was an answer, and with so few to come, it gets what any server can hold."""
    script = Script(slow_echo)
    assert sum(1 for _ in answered(tmp_path, serve(script), [str(n) for n in range(START + 8)])) == START + 8
    assert script.most_busy <= START


def test_a_server_that_says_how_many_it_works_on_gets_them_at_once(
    serve: Callable[[Script], str], tmp_path: Path
) -> None:
    """32, and 8 that wait for a free place."""
    script = Script(slow_echo, {"/info": {"model_id": "script", "max_batch_size": 32}})
    url = serve(script)
    assert resolve(url).places == 32
    answered(tmp_path, url, [str(n) for n in range(160)])
    assert START < script.most_busy <= 40


def test_a_server_that_refuses_more_than_four_answers_all(serve: Callable[[Script], str], tmp_path: Path) -> None:
    """As many servers do above the length of their queue. Of the 16 at first 12 are refused; later on few are."""

    def answer(number: int, body: dict[str, Any]) -> Any:
        return (429, {"error": "too many requests"}) if script.busy > 4 else slow_echo(number, body)

    script = Script(answer)
    made = answered(tmp_path, serve(script), texts := [str(n) for n in range(80)])
    assert [attempt.text for attempt in made] == texts
    assert len(script.bodies) < 80 + 60


def test_replicas_share_by_prefix_and_one_that_is_gone_loses_nothing(
    serve: Callable[[Script], str], tmp_path: Path
) -> None:
    """Four questions of each prompt, two servers and an address where nobody is: a prompt is read by one server."""
    first, second = Script(slow_echo), Script(slow_echo)
    urls = ["http://127.0.0.1:9", serve(first), serve(second)]
    texts = [str(n // 4) for n in range(160)]
    made = answered(tmp_path, Address(urls[1], "m", replicas=lambda: urls), texts)
    assert [attempt.text for attempt in made] == texts
    read = [{body["messages"][0]["content"] for body in script.bodies} for script in (first, second)]
    assert min(len(prompts) for prompts in read) >= 10
    assert len(read[0]) + len(read[1]) <= 40 + 8


def test_replicas_that_came_back_elsewhere_are_found(
    serve: Callable[[Script], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pod that was replaced has another address, which the cluster tells once the old one does not answer."""
    monkeypatch.setattr(replicas, "AWAY_S", 0.1)
    script = Script(slow_echo)
    places = iter([["http://127.0.0.1:9"], [url := serve(script)]])
    address = Address("http://127.0.0.1:9", "m", replicas=lambda: next(places, [url]))
    assert [attempt.text for attempt in answered(tmp_path, address, ["a", "b"])] == ["a", "b"]
