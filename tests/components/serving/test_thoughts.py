"""A model that thinks first gets the room to do so, and whoever does not is asked as before."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components.core.records import Candidate, Instruction
from components.core.settings import Settings
from components.core.stage import Stage
from components.evaluation.alpaca_eval.preferences import annotations_of
from components.evaluation.alpaca_eval.settings import AnnotationSettings
from components.judging.judging import TextToJudge, judgements_of
from components.judging.settings import JudgingSettings
from components.serving.answers import CUT_IN_THOUGHT
from components.serving.client import Client, Completion, Request, Sampling
from components.serving.completions import complete
from tests.helpers.scripted_endpoint import Script, said

Serve = Callable[[Script], str]
ROOM = 1000
TOO_LONG = 400, {"error": {"message": "This model's maximum context length is 600 tokens.", "type": "BadRequestError"}}
TOO_MANY = 400, {"error": {"message": "max_tokens is too large: 1016. Must be at most 600.", "param": "max_tokens"}}


def in_field(content: Any, reasoning: str, finish_reason: str) -> tuple[int, dict[str, Any]]:
    """As a server answers that takes the thought off the text."""
    status, body = said("", finish_reason)
    body["choices"][0]["message"] |= {"content": content, "reasoning_content": reasoning}
    return status, body


def hidden(text: str, finish_reason: str) -> tuple[int, dict[str, Any]]:
    """As OpenAI answers: of the thought only its length is told."""
    status, body = said(text, finish_reason)
    body["usage"]["completion_tokens_details"] = {"reasoning_tokens": 16}
    return status, body


def thinks(cut: Any, most: int = 600, refusal: Any = TOO_LONG, answer: str = "<think>Hm.</think>\nm") -> Script:
    """A server that needs 300 tokens for its thought, and has a context for `most`."""

    def reply(number: int, body: dict[str, Any]) -> Any:
        tokens = body["max_tokens"]
        return refusal if tokens > most else cut if tokens < 300 else said(answer)

    return Script(reply)


def ask(url: str, room: int = ROOM) -> Completion:
    async def once() -> Completion:
        client = Client(url)
        try:
            messages = [{"role": "user", "content": "hi"}]
            sampling = Sampling(0.7, 0.9, 16, top_logprobs=5, reasoning_tokens=room)
            return await client.complete(Request("id", messages, sampling, seed=7))
        finally:
            await client.close()

    return asyncio.run(once())


@pytest.mark.parametrize(
    "cut",
    [
        said("<think>Let me", "length", [("<think>", -0.1)]),
        said("<think>", "length", [("<think>", -0.1)]),
        said("<think>Let me see.</think>\nThe bet", "length"),
        in_field(None, "", "length"),
        in_field(None, "Let me", "length"),
        in_field("", "Let me", "length"),
        in_field("The bet", "Let me see.", "length"),
        hidden("", "length"),
    ],
)
@pytest.mark.parametrize("refusal", [TOO_LONG, TOO_MANY])
def test_one_that_is_cut_off_for_its_thought_is_asked_again_with_room(serve: Serve, cut: Any, refusal: Any) -> None:
    """16 tokens do not do, 16 + 1000 do not fit, 16 + 500 do both; the seed is the same."""
    script = thinks(cut, refusal=refusal)
    made = ask(serve(script))
    assert (made.text, made.reasoning, made.finish_reason, made.first_token) == ("m", "Hm.", "stop", None)
    assert [body["max_tokens"] for body in script.bodies] == [16, 1016, 516]
    assert {body["seed"] for body in script.bodies} == {7}


@pytest.mark.parametrize(("most", "room"), [(600, 0), (20, ROOM), (10_000, 100)], ids=["none", "no context", "little"])
def test_without_enough_room_the_reason_names_the_setting(serve: Serve, most: int, room: int) -> None:
    made = ask(serve(thinks(said("<think>Let me", "length", [("m", -0.1)]), most)), room)
    assert (made.text, made.finish_reason, made.first_token) == ("", CUT_IN_THOUGHT, None)
    assert "reasoning_tokens" in made.finish_reason


@pytest.mark.parametrize("text", ["The bet", ""])
def test_one_that_does_not_think_is_asked_once(serve: Serve, text: str) -> None:
    script = Script(lambda number, body: said(text, "length"))
    assert ask(serve(script)).finish_reason == "length"
    assert len(script.bodies) == 1


def test_a_judge_and_an_annotator_that_think_need_no_setting(serve: Serve, tmp_path: Path) -> None:
    """The annotator is asked for one token, which is the beginning of its thought."""
    stage = Stage(str(tmp_path), "judging", Settings(), {})
    script = thinks(said("<think>", "length", [("<think>", 0.0)]), 9000, answer="<think>Score: 1?</think>\nScore: 4")
    settings = JudgingSettings(max_tokens=200, samples=1)
    text = TextToJudge("p", "p/0", "hi", "ho")
    [judged] = complete(stage, serve(script), judgements_of([text], settings, 1, settings.judge_prompt()))
    assert (judged.score, judged.completion) == (4.0, "Score: 4")

    output = Candidate(id="i", prompt_id="i", prompt="hi", text="ho", finish_reason="stop", seed=0, tokens=2)
    instruction = Instruction(id="i", text="hi", dataset="", reference="ha", generator="g")
    script = thinks(said("<think>", "length", [("<think>", 0.0)]), 9000)
    [annotated] = complete(stage, serve(script), annotations_of([instruction], {"i": output}, AnnotationSettings()))
    assert (annotated.preference in (0.0, 1.0), annotated.form) == (True, "plain")
    assert [body["max_tokens"] for body in script.bodies] == [1, 4097]


def test_a_judge_that_never_comes_to_an_end_is_counted_by_the_setting(serve: Serve, tmp_path: Path) -> None:
    stage = Stage(str(tmp_path), "judging", Settings(), {})
    settings = JudgingSettings(samples=1)
    text = TextToJudge("p", "p/0", "hi", "ho")
    url = serve(Script(lambda number, body: said("<think>Score: 5", "length")))
    [judged] = complete(stage, url, judgements_of([text], settings, 1, settings.judge_prompt()))
    assert judged.score is None
    assert judged.unparsed == f"judge {CUT_IN_THOUGHT}"
