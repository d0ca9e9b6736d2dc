"""The HTTP surface, in process: TGI's fields in answers, loud refusals, metrics."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from components.serving.embedded.http.api import Served, create_app
from components.serving.embedded.model.loading import load
from components.serving.embedded.scheduler.engine import Engine, Limits
from components.serving.embedded.scheduler.queue import RequestQueue
from tests.helpers.tiny_model import make_tiny_model

CHAT = {"messages": [{"role": "user", "content": "hello"}]}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Served:
    served = Served("tiny", "abc123")
    loaded = load(make_tiny_model(tmp_path_factory.mktemp("tiny")), "float32")
    served.engine = Engine(loaded, Limits(max_total_tokens=128), served.metrics)
    served.engine.start()
    return served


@pytest.fixture(scope="module")
def client(served: Served) -> Iterator[TestClient]:
    with TestClient(create_app(served)) as client:
        yield client


def post(client: TestClient, path: str, body: Any, status: int = 200) -> Any:
    response = client.post(path, json=body)
    assert response.status_code == status, response.text
    return response.json()


def refusal(client: TestClient, path: str, body: Any) -> str:
    """The reason of a 422."""
    answer = post(client, path, body, 422)
    assert set(answer) == {"error", "error_type"}
    assert answer["error_type"] == "validation"
    return str(answer["error"])


def test_health_is_503_until_the_model_is_there(served: Served, client: TestClient) -> None:
    assert client.get("/health").status_code == 200
    loading = TestClient(create_app(Served("tiny", None)))
    assert loading.get("/health").status_code == 503
    assert post(loading, "/v1/chat/completions", CHAT, 503)["error_type"] == "unhealthy"


def test_info_and_models(client: TestClient) -> None:
    info = client.get("/info").json()
    assert (info["model_id"], info["model_sha"], info["model_dtype"]) == ("tiny", "abc123", "float32")
    assert (info["max_input_tokens"], info["max_total_tokens"]) == (127, 128)
    assert info["router"] == "self-rewarding-embedded"
    assert client.get("/v1/models").json()["data"][0]["id"] == "tiny"


def test_chat_answers_in_the_openai_form(client: TestClient) -> None:
    answer = post(client, "/v1/chat/completions", {**CHAT, "model": "any", "max_tokens": 5, "temperature": 0})
    choice = answer["choices"][0]
    assert choice["message"]["role"] == "assistant"
    assert choice["finish_reason"] in ("stop", "length")
    # <|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n: 1 + 5 + 5 + 1 + 1 + 1 + 10 tokens of one byte each.
    assert answer["usage"]["prompt_tokens"] == 24
    assert answer["usage"]["total_tokens"] == 24 + answer["usage"]["completion_tokens"]


def test_chat_without_max_tokens_may_fill_the_total(client: TestClient) -> None:
    for seed in range(20):
        answer = post(client, "/v1/chat/completions", {**CHAT, "seed": seed})
        if answer["choices"][0]["finish_reason"] == "length":
            assert answer["usage"]["total_tokens"] == 128
            return
    pytest.fail("no answer of 20 ran to the limit")


def test_the_seed_decides_the_text(client: TestClient) -> None:
    body = {**CHAT, "max_tokens": 20, "temperature": 1.0, "top_p": 0.95}
    texts = [
        post(client, "/v1/chat/completions", {**body, "seed": seed})["choices"][0]["message"]["content"]
        for seed in (1, 1, 2)
    ]
    assert texts[0] == texts[1] != texts[2]


def test_generate_reports_details_and_a_seed_that_repeats_it(client: TestClient) -> None:
    parameters = {"do_sample": True, "max_new_tokens": 10, "details": True}
    first = post(client, "/generate", {"inputs": "ab", "parameters": parameters})
    again = post(client, "/generate", {"inputs": "ab", "parameters": {**parameters, "seed": first["details"]["seed"]}})
    assert again == first
    assert first["details"]["generated_tokens"] <= 10
    full = post(client, "/generate", {"inputs": "ab", "parameters": {"max_new_tokens": 2, "return_full_text": True}})
    assert full["generated_text"].startswith("ab")
    assert "details" not in full


def test_the_root_answers_as_the_inference_api_did(client: TestClient) -> None:
    body = {"inputs": "ab", "parameters": {"max_new_tokens": 4}}
    assert post(client, "/", body) == [post(client, "/generate", body)]


def test_nulls_are_as_if_absent(client: TestClient) -> None:
    nulls = dict.fromkeys(
        ["n", "stop", "seed", "tools", "logprobs", "top_logprobs", "response_format", "top_p", "stream", "max_tokens"]
    )
    post(client, "/v1/chat/completions", {**CHAT, **nulls, "temperature": 0})
    post(
        client, "/generate", {"inputs": "ab", "parameters": {"top_k": None, "max_new_tokens": None, "typical_p": None}}
    )


@pytest.mark.parametrize(
    ("extra", "reason"),
    [
        ({"n": 2}, "`n`"),
        ({"stream": True}, "`stream`"),
        ({"logprobs": 5}, "`logprobs`"),
        ({"top_logprobs": 5}, "`top_logprobs` needs logprobs=true"),
        ({"top_logprobs": 5, "logprobs": False}, "`top_logprobs` needs logprobs=true"),
        ({"top_logprobs": 21, "logprobs": True}, "`top_logprobs`: Input should be less than or equal to 20"),
        ({"top_logprobs": -1, "logprobs": True}, "`top_logprobs`: Input should be greater than or equal to 0"),
        ({"tools": []}, "`tools` is not supported"),
        ({"response_format": {"type": "json_object"}}, "`response_format` is not supported"),
        ({"frequency_penalty": 0.5}, "`frequency_penalty` is not supported"),
        ({"temperature": -0.1}, "`temperature`"),
        ({"temperature": "0.7"}, "`temperature`"),
        ({"top_p": 0.0}, "`top_p`"),
        ({"top_p": 1.1}, "`top_p`"),
        ({"max_tokens": 0}, "`max_tokens`"),
        ({"stop": ["a"] * 5}, "`stop`"),
        ({"stop": [""]}, "`stop.0`"),
        ({"messages": []}, "`messages`"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "`messages.0.role`"),
        ({"messages": [{"role": "user", "content": "x", "name": "y"}]}, "`messages.0.name` is not supported"),
        ({"max_tokens": 105}, "<= 128. Given: 24 prompt tokens and 105 max new tokens"),
        ({"messages": [{"role": "user", "content": "x" * 200}]}, "at most 127 tokens. Given: 219"),
    ],
)
def test_chat_refuses_loudly(client: TestClient, extra: dict[str, Any], reason: str) -> None:
    assert reason in refusal(client, "/v1/chat/completions", {**CHAT, **extra})


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"inputs": ""}, "`inputs`"),
        ({"inputs": "a", "parameters": {"best_of": 2}}, "`parameters.best_of`"),
        (
            {"inputs": "a", "parameters": {"repetition_penalty": 1.1}},
            "`parameters.repetition_penalty` is not supported",
        ),
        ({"inputs": "a", "parameters": {"do_sample": True, "temperature": 0}}, "contradicts"),
        ({"inputs": "a", "parameters": {"top_k": 0}}, "`parameters.top_k`"),
        ({"inputs": "a", "options": {}}, "`options` is not supported"),
    ],
)
def test_generate_refuses_loudly(client: TestClient, body: dict[str, Any], reason: str) -> None:
    assert reason in refusal(client, "/generate", body)


def test_a_body_that_is_no_json_is_refused(client: TestClient) -> None:
    response = client.post("/generate", content="{", headers={"content-type": "application/json"})
    assert (response.status_code, response.json()["error_type"]) == (422, "validation")


def test_a_full_queue_is_429(served: Served, client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    assert served.engine
    monkeypatch.setattr(served.engine, "queue", RequestQueue(max_size=0))
    assert post(client, "/generate", {"inputs": "a"}, 429) == {
        "error": "Model is overloaded",
        "error_type": "overloaded",
    }


def test_a_decoding_error_is_500_and_passes(
    served: Served, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert served.engine
    with monkeypatch.context() as broken:
        broken.setattr(served.engine._forward, "next_logits", lambda *_: 1 / 0)
        assert post(client, "/generate", {"inputs": "a"}, 500)["error_type"] == "generation"
    post(client, "/generate", {"inputs": "a"})


def test_without_a_chat_template_generate_still_works(tmp_path: Path) -> None:
    make_tiny_model(tmp_path)
    (tmp_path / "chat_template.jinja").unlink()
    served = Served("bare", None)
    served.engine = Engine(load(tmp_path), Limits(), served.metrics)
    served.engine.start()
    with TestClient(create_app(served)) as client:
        answer = post(client, "/v1/chat/completions", CHAT, 422)
        assert answer["error_type"] == "template_error"
        assert "/generate" in answer["error"]
        post(client, "/generate", {"inputs": "ab"})


def test_metrics_count_what_happened(client: TestClient) -> None:
    def read() -> dict[str, float]:
        lines = client.get("/metrics").text.splitlines()
        return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if line[0] != "#")}

    before = read()
    answer = post(client, "/v1/chat/completions", {**CHAT, "max_tokens": 3})
    refusal(client, "/generate", {"inputs": ""})
    after = read()

    def grown(name: str) -> float:
        return after[name] - before.get(name, 0)

    assert grown("tgi_request_count") == grown("tgi_request_success") == 1
    assert grown("tgi_request_generated_tokens_sum") == answer["usage"]["completion_tokens"]
    assert (grown("tgi_request_input_length_sum"), grown("tgi_request_input_length_count")) == (24, 1)
    assert grown('tgi_request_failure{err="validation"}') == 1
    assert grown("embedded_forward_passes") >= answer["usage"]["completion_tokens"]
    assert after["tgi_queue_size"] == 0
