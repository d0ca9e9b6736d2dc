"""The client against a real HTTP server that misbehaves as told."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components.core.errors import UserError
from components.core.records import PromptAttempt
from components.core.stage import Stage
from components.pairs.settings import PairsSettings
from components.serving.client import Client, Completion, Request, Sampling
from components.serving.completions import Batch, complete, complete_together
from components.serving.description import endpoint_info
from components.serving.patience import RetryPolicy
from tests.helpers.scripted_endpoint import Script, said

QUICK = RetryPolicy(attempts=3, first_wait=0.01, longest_wait=0.02, timeout=5)


WARM = Sampling(0.7, 0.9, 16)


def ask(url: str, sampling: Sampling = WARM) -> Completion:
    async def once() -> Completion:
        client = Client(url, QUICK)
        try:
            return await client.complete(Request("id", [{"role": "user", "content": "hi"}], sampling, seed=7))
        finally:
            await client.close()

    return asyncio.run(once())


def test_what_is_sent_and_received(serve: Callable[[Script], str]) -> None:
    script = Script(lambda number, body: said("hello END", "length"))
    completion = ask(serve(script), Sampling(0.7, 0.9, 16, stop=("END",)))
    assert completion == Completion(text="hello ", finish_reason="length", tokens=2)  # TGI keeps the stop sequence
    body = {name: value for name, value in script.bodies[0].items() if value is not None}
    wanted = {"temperature": 0.7, "top_p": 0.9, "max_tokens": 16, "seed": 7, "stop": ["END"]}
    assert {name: body[name] for name in wanted} == wanted


def test_greedy_says_so(serve: Callable[[Script], str]) -> None:
    """Engines sample at 1 where no temperature is given; TGI refuses an explicit top-p of 1."""
    script = Script(lambda number, body: said("x"))
    ask(serve(script), Sampling(0, 1, 16))
    assert script.bodies[0]["temperature"] == 0
    assert script.bodies[0].get("top_p") is None


def test_a_top_p_of_1_is_said(serve: Callable[[Script], str]) -> None:
    """Left out, vLLM would take what the model's generation_config.json says: 0.9 for Llama 3's chat models."""
    script = Script(lambda number, body: said("x"))
    ask(serve(script), Sampling(0.7, 1, 16))
    assert script.bodies[0]["top_p"] == 1


def test_an_endpoint_that_refuses_a_top_p_of_1_is_asked_without_it(serve: Callable[[Script], str]) -> None:
    """TGI, where nothing said is 1. Five requests at once: some were under way when the first one was refused."""

    def answer(number: int, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if body.get("top_p") == 1:
            return 422, {"error": "Input validation error: `top_p` must be > 0.0 and < 1.0", "error_type": "validation"}
        return said("x")

    script = Script(answer)

    async def several() -> list[str]:
        client, sampling = Client(serve(script), QUICK), Sampling(0.7, 1, 16)
        asked = [Request(str(n), [{"role": "user", "content": "hi"}], sampling, seed=n) for n in range(5)]
        texts = [made.text for made in await asyncio.gather(*map(client.complete, asked))]
        texts.append((await client.complete(asked[0])).text)
        await client.close()
        return texts

    assert asyncio.run(several()) == ["x"] * 6
    assert script.bodies[-1].get("top_p") is None
    assert sum(body.get("top_p") is None for body in script.bodies) == 6


def test_a_refusal_of_another_top_p_is_an_error(serve: Callable[[Script], str]) -> None:
    script = Script(lambda number, body: (422, {"error": "`top_p` is not supported", "error_type": "validation"}))
    with pytest.raises(UserError, match="top_p` is not supported"):
        ask(serve(script), Sampling(0.7, 0.9, 16))
    assert len(script.bodies) == 1


@pytest.mark.parametrize("status", [429, 500, 503])
def test_overload_is_retried(serve: Callable[[Script], str], status: int) -> None:
    script = Script(lambda number, body: said("done") if number == 3 else (status, {"error": "busy"}))
    assert ask(serve(script)).text == "done"
    assert len(script.bodies) == 3


def test_it_gives_up_with_the_endpoints_name(serve: Callable[[Script], str]) -> None:
    url = serve(Script(lambda number, body: (503, {"error": "still loading"})))
    with pytest.raises(UserError, match=r"127\.0\.0\.1:\d+ did not answer after 3 attempts.*still loading"):
        ask(url)


def test_an_endpoint_that_is_down_is_named() -> None:
    with pytest.raises(UserError, match=r"127\.0\.0\.1:9 did not answer"):
        ask("http://127.0.0.1:9")
    with pytest.raises(UserError, match="does not answer"):
        endpoint_info("http://127.0.0.1:9")


def test_a_template_that_refuses_a_conversation_is_no_long_prompt(serve: Callable[[Script], str]) -> None:
    """Though its message may name tokens."""
    refused = {"error": "Template error: no token for the role system", "error_type": "template_error"}
    with pytest.raises(UserError, match="no token for the role system") as caught:
        ask(serve(Script(lambda number, body: (422, refused))))
    assert "system messages" in caught.value.remedy


def test_a_refused_request_is_not_retried(serve: Callable[[Script], str]) -> None:
    script = Script(lambda number, body: (422, {"error": "template not found", "error_type": "validation"}))
    with pytest.raises(UserError, match="template not found"):
        ask(serve(script))
    assert len(script.bodies) == 1


def test_a_prompt_that_is_too_long_is_an_answer_and_not_an_error(serve: Callable[[Script], str]) -> None:
    refusal = {"error": "`inputs` tokens + `max_new_tokens` must be <= 2048", "error_type": "validation"}
    assert ask(serve(Script(lambda number, body: (422, refusal)))).finish_reason == "prompt_too_long"


@pytest.mark.parametrize(
    "message",
    [
        "This model's maximum context length is 4096 tokens. However, you requested 5123 tokens (4099 in the messages, "
        "1024 in the completion). Please reduce the length of the messages or completion.",
        "max_tokens must be at least 1, got -186.",
    ],
)
def test_vllm_says_400_to_a_prompt_that_is_too_long(serve: Callable[[Script], str], message: str) -> None:
    refusal = {"object": "error", "message": message, "type": "BadRequestError", "param": None, "code": 400}
    assert ask(serve(Script(lambda number, body: (400, refusal)))).finish_reason == "prompt_too_long"


ANNOTATING = Sampling(0, 1, 1, top_logprobs=5)


def test_logprobs_are_asked_for_only_where_they_are_wanted(serve: Callable[[Script], str]) -> None:
    script = Script(lambda number, body: said("m", logprobs=[("m", -0.5), ("M", -1.5)]))
    url = serve(script)
    assert ask(url, ANNOTATING).first_token == {"m": -0.5, "M": -1.5}
    assert ask(url, WARM).first_token is None
    assert [(body.get("logprobs"), body.get("top_logprobs")) for body in script.bodies] == [(True, 5), (None, None)]


def test_tokens_of_one_text_add_up_and_spaces_count(serve: Callable[[Script], str]) -> None:
    """m with 0.3 and 0.2 is m with 0.5; " m" is another token; -9999 has no mass that a double could hold."""
    tokens = [("m", math.log(0.3)), (" m", math.log(0.1)), ("m", math.log(0.2)), ("M", -9999.0), ("M", -9999.0)]
    first_token = ask(serve(Script(lambda number, body: said("m", logprobs=tokens))), ANNOTATING).first_token
    assert first_token == pytest.approx({"m": math.log(0.5), " m": math.log(0.1), "M": -9999.0 + math.log(2)})


@pytest.mark.parametrize(
    "logprobs",
    [
        None,
        {},
        {"content": None},
        {"content": []},
        {"content": [{"token": "m", "logprob": -0.1}]},
        {"content": [{"token": "m", "logprob": -0.1, "top_logprobs": []}]},
        {"content": [{"token": "m", "logprob": -0.1, "top_logprobs": {"m": -0.1}}]},
        {"content": [{"token": "m", "logprob": -0.1, "top_logprobs": [{"token": "m"}]}]},
        {"content": [{"token": "m", "logprob": -math.inf, "top_logprobs": [{"token": "m", "logprob": -math.inf}]}]},
        {"tokens": ["m"], "token_logprobs": [-0.1], "top_logprobs": [{"m": -0.1}]},  # OpenAI's form before chats
        "m",
    ],
)
def test_an_endpoint_that_ignores_logprobs_gave_none(serve: Callable[[Script], str], logprobs: Any) -> None:
    def answer(number: int, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        status, made = said("m")
        made["choices"][0]["logprobs"] = logprobs
        return status, made

    assert ask(serve(Script(answer)), ANNOTATING) == Completion(text="m", finish_reason="stop", tokens=2)


REFUSALS = [
    (400, {"error": {"message": "This model does not support the 'logprobs' parameter.", "code": 400}}),
    (422, {"error": "Input validation error: `top_n_tokens` must be >= 0 and <= 4. Given: 5"}),  # TGI's own limit
    (403, {"error": {"message": "You are not allowed to request logprobs from this model"}}),
]


@pytest.mark.parametrize("refusal", REFUSALS)
def test_an_endpoint_that_refuses_logprobs_is_asked_without(
    serve: Callable[[Script], str], capsys: pytest.CaptureFixture[str], refusal: tuple[int, dict[str, Any]]
) -> None:
    """Three requests one after another: the first is refused and repeated, the others do not ask for them."""
    script = Script(lambda number, body: refusal if body.get("logprobs") else said("m"))
    url = serve(script)

    async def thrice() -> list[Completion]:
        client = Client(url, QUICK)
        request = Request("id", [{"role": "user", "content": "hi"}], ANNOTATING, seed=7)
        try:
            return [await client.complete(request) for _ in range(3)]
        finally:
            await client.close()

    assert [(answer.text, answer.first_token) for answer in asyncio.run(thrice())] == [("m", None)] * 3
    assert [body.get("logprobs") for body in script.bodies] == [True, None, None, None]
    assert capsys.readouterr().err.count("refuses log-probabilities") == 1


def test_overload_is_no_refusal_of_logprobs(serve: Callable[[Script], str]) -> None:
    likeliest = [("m", -0.5)]
    script = Script(lambda number, body: said("m", logprobs=likeliest) if number == 2 else (429, {"error": "logprobs"}))
    assert ask(serve(script), ANNOTATING).first_token == dict(likeliest)


def test_a_refusal_that_names_logprobs_by_the_way_stays_a_refusal(
    serve: Callable[[Script], str], capsys: pytest.CaptureFixture[str]
) -> None:
    script = Script(lambda number, body: (400, {"error": "no chat template", "body": "...logprobs..."}))
    with pytest.raises(UserError, match="no chat template"):
        ask(serve(script), ANNOTATING)
    assert len(script.bodies) == 1
    assert "log-probabilities" not in capsys.readouterr().err


def test_the_hubs_token_is_not_sent_to_any_endpoint(
    serve: Callable[[Script], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_planted")
    script = Script(lambda number, body: said("x"))
    ask(serve(script))
    assert "hf_planted" not in str(script.headers)


def attempts(texts: range) -> list[Request]:
    return [Request(str(n), [{"role": "user", "content": str(n)}], Sampling(0, 1, 4), n) for n in texts]


def attempt(request: Request, answer: Completion) -> PromptAttempt:
    return PromptAttempt(id=request.id, text=answer.text, finish_reason=answer.finish_reason, tokens=answer.tokens)


def asked(number: int, concurrency: int, kind: str = "attempts") -> Batch[PromptAttempt]:
    return Batch(kind, PromptAttempt, attempts(range(number)), attempt, concurrency)


def echo(number: int, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    return said(f"echo {body['messages'][0]['content']}")


def test_only_missing_records_are_asked_for_and_in_flight_is_bounded(
    serve: Callable[[Script], str], tmp_path: Path
) -> None:
    stage = Stage(str(tmp_path), "pairs", PairsSettings(), {})
    first = Script(echo)
    complete(stage, serve(first), asked(5, concurrency=2))
    assert first.most_busy <= 2
    second = Script(echo)
    made = complete(stage, serve(second), asked(8, concurrency=4))
    assert [record.text for record in made] == [f"echo {n}" for n in range(8)]
    assert sorted(body["messages"][0]["content"] for body in second.bodies) == ["5", "6", "7"]


def test_batches_that_ask_one_server_are_under_way_together(serve: Callable[[Script], str], tmp_path: Path) -> None:
    """3 + 3 questions, none answered before all six are there: one after the other they would never be."""
    together = threading.Barrier(6)

    def answer(number: int, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        together.wait(60)
        return echo(number, body)

    stage = Stage(str(tmp_path), "pairs", PairsSettings(), {})
    batches = [asked(3, concurrency=2, kind="one"), asked(3, concurrency=6, kind="other")]
    complete_together(stage, serve(Script(answer)), batches)
    assert [[made.text for made in batch.records] for batch in batches] == 2 * [[f"echo {n}" for n in range(3)]]
    assert all(len(stage.load_progress(kind, PromptAttempt)) == 3 for kind in ("one", "other"))


def test_what_was_made_before_a_failure_is_kept(serve: Callable[[Script], str], tmp_path: Path) -> None:
    stage = Stage(str(tmp_path), "pairs", PairsSettings(), {})
    broken = Script(lambda number, body: echo(number, body) if number <= 3 else (401, {"error": "no"}))
    with pytest.raises(UserError, match="refused"):
        complete(stage, serve(broken), asked(5, concurrency=1))
    assert sorted(stage.load_progress("attempts", PromptAttempt)) == ["0", "1", "2"]


def test_missing_work_without_an_endpoint_is_an_error(tmp_path: Path) -> None:
    stage = Stage(str(tmp_path), "pairs", PairsSettings(), {})
    with pytest.raises(UserError, match="5 attempts"):
        complete(stage, "", asked(5, concurrency=1))
