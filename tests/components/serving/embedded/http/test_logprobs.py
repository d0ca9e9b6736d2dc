"""Log-probabilities of the embedded engine are those of the plain model, whatever the sampler does with it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from fastapi.testclient import TestClient
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from components.serving.client import Client, Completion, Request, Sampling
from components.serving.embedded.decoding.sampling import Sampler
from components.serving.embedded.decoding.sequences import Sequence
from components.serving.embedded.http.api import Served, create_app
from components.serving.embedded.http.server import served_in_process
from components.serving.embedded.model.loading import load
from components.serving.embedded.model.metrics import Metrics
from components.serving.embedded.scheduler.engine import Engine, Limits
from tests.helpers.tiny_model import make_tiny_model

MESSAGES = [{"role": "user", "content": "m or M?"}]
CHAT = {"messages": MESSAGES, "max_tokens": 6, "temperature": 0}


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def plain(directory: Path) -> PreTrainedModel:
    """The model as transformers runs it, apart from the engine's."""
    return AutoModelForCausalLM.from_pretrained(directory).eval()


@pytest.fixture(scope="module")
def client(directory: Path) -> Iterator[TestClient]:
    served = Served("tiny", None)
    served.engine = Engine(load(directory, "float32"), Limits(), served.metrics)
    served.engine.start()
    with TestClient(create_app(served)) as client:
        yield client
    served.engine.stop()


def choice(client: TestClient, **settings: Any) -> dict[str, Any]:
    response = client.post("/v1/chat/completions", json={**CHAT, **settings})
    assert response.status_code == 200, response.text
    return dict(response.json()["choices"][0])


def plain_logprobs(model: PreTrainedModel, prompt: tuple[int, ...], generated: list[int]) -> Tensor:
    """Natural logarithms [tokens generated, vocabulary] by one forward pass over the whole text."""
    with torch.no_grad():
        logits = model(torch.tensor([[*prompt, *generated]])).logits[0]
    return logits[len(prompt) - 1 : -1].log_softmax(dim=-1)


def prompt_of(directory: Path) -> tuple[int, ...]:
    tokenizer = AutoTokenizer.from_pretrained(directory)
    return tuple(tokenizer.apply_chat_template(MESSAGES, add_generation_prompt=True)["input_ids"])


def close(value: Any) -> Any:
    return pytest.approx(value, abs=1e-4)


def test_chat_reports_the_plain_models_logprobs(client: TestClient, plain: PreTrainedModel, directory: Path) -> None:
    """Greedy: at each of six places the plain model's likeliest token is chosen, and its five likeliest are told."""
    content = choice(client, logprobs=True, top_logprobs=5)["logprobs"]["content"]
    prompt, tokenizer = prompt_of(directory), AutoTokenizer.from_pretrained(directory)
    generated: list[int] = []
    for entry in content:
        values, tokens = plain_logprobs(plain, prompt, [*generated, 0])[-1].topk(5)
        likeliest = [tokenizer.decode([token]) for token in tokens.tolist()]
        assert [top["token"] for top in entry["top_logprobs"]] == likeliest
        assert [top["logprob"] for top in entry["top_logprobs"]] == close(values.tolist())
        assert {name: entry[name] for name in ("token", "logprob")} == entry["top_logprobs"][0]
        generated.append(int(tokens[0]))
    assert len(content) == 6


def test_logprobs_are_reported_only_as_asked(client: TestClient) -> None:
    without_top = choice(client, logprobs=True)
    assert [entry["top_logprobs"] for entry in without_top["logprobs"]["content"]] == [[]] * 6
    for nothing in ({}, {"logprobs": False}, {"logprobs": False, "top_logprobs": 0}):
        assert choice(client, **nothing) == without_top | {"logprobs": None}


def test_the_end_of_an_answer_has_an_entry_too(client: TestClient) -> None:
    """Among 40 sampled answers of a random model over 259 tokens, of 100 tokens at most, some end early."""
    sampled = [choice(client, temperature=1.0, max_tokens=100, seed=seed, logprobs=True) for seed in range(40)]
    ended = [answer["logprobs"]["content"][-1]["token"] for answer in sampled if answer["finish_reason"] == "stop"]
    assert ended
    assert set(ended) == {"<|im_end|>"}


def test_sampling_does_not_change_the_logprobs(plain: PreTrainedModel, directory: Path) -> None:
    """Sequences with a temperature, top-p and top-k of their own, every other one asking, decoded together."""
    prompt = prompt_of(directory)
    samplers = [Sampler(seed, temperature=0.5 + seed, top_k=40, top_p=0.7) for seed in range(4)]
    sequences = [Sequence(prompt, 8, sampler, top_logprobs=(None, 3)[sampler.seed % 2]) for sampler in samplers]
    engine = Engine(load(directory, "float32"), Limits(), Metrics())
    for sequence in sequences:
        engine.submit(sequence)
    while not all(sequence.future.done() for sequence in sequences):
        engine.step()
    for sequence, reported in ((sequence, sequence.future.result().logprobs) for sequence in sequences):
        if sequence.top_logprobs is None:
            assert reported is None
            continue
        expected = plain_logprobs(plain, prompt, sequence.generated)
        assert reported
        assert [entry.token for entry in reported] == sequence.generated
        assert [entry.logprob for entry in reported] == close(
            expected.gather(1, torch.tensor(sequence.generated)[:, None])[:, 0]
        )
        values, tokens = expected.topk(3)
        assert [[token for token, _ in entry.likeliest] for entry in reported] == tokens.tolist()
        likeliest = torch.tensor([[value for _, value in entry.likeliest] for entry in reported])
        assert likeliest.numpy() == close(values.numpy())


def test_the_client_reads_what_the_engine_reports(plain: PreTrainedModel, directory: Path) -> None:
    """Over HTTP and through huggingface_hub; one token a byte, so texts below U+0080 are one token each."""
    model = AutoModelForCausalLM.from_pretrained(directory).eval()
    tokenizer = AutoTokenizer.from_pretrained(directory)

    async def ask(url: str) -> Completion:
        client = Client(url)
        try:
            return await client.complete(Request("id", MESSAGES, Sampling(0, 1, 1, top_logprobs=20), seed=0))
        finally:
            await client.close()

    with served_in_process(model, tokenizer, Limits()) as url:
        first_token = asyncio.run(ask(url)).first_token
    assert first_token
    values, tokens = plain_logprobs(plain, prompt_of(directory), [0])[0].topk(20)
    expected = dict(zip(tokenizer.batch_decode(tokens[:, None]), values.tolist(), strict=True))
    expected.pop("\ufffd", None)  # parts of characters, which are many tokens of one text
    assert len(expected) > 3
    assert {token: first_token[token] for token in expected} == close(expected)
