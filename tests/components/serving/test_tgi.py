"""TGI is archived and cannot be run here: what is sent to it, and what our own server answers in its place, are held
against its published description (tests/components/serving/tgi_api.json)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from jsonschema import Draft202012Validator

from components.core.hashing import seed_from
from components.evaluation.alpaca_eval.settings import AnnotationSettings
from components.serving.client import Client, Request, Sampling
from components.serving.settings import Generation
from pipelines.recipe import load_recipe, shipped_recipes
from tests.helpers.scripted_endpoint import Script, says
from tests.helpers.tiny_model import make_tiny_model

API = json.loads(Path(__file__).with_name("tgi_api.json").read_text())
MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]


def check(name: str, value: Any) -> None:
    Draft202012Validator(API[name]).validate(value)


def generations(settings: Any) -> Iterator[Generation]:
    """Every section of a recipe that asks a model, wherever it lies."""
    for _, value in settings:
        if isinstance(value, Generation):
            yield value
        if hasattr(type(value), "model_fields"):
            yield from generations(value)


@pytest.mark.parametrize("name", shipped_recipes())
def test_all_that_a_recipe_sends_is_a_request_of_tgis(name: str, serve: Callable[[Script], str]) -> None:
    """Seeds are hashes: the largest must fit into 64 bits with a sign."""
    recipe, script = load_recipe(name), says(lambda _: "Hello.")
    samplings = [section.sampling() for section in generations(recipe)]
    samplings += [AnnotationSettings().preference_sampling(), Sampling(1.0, 1.0, 8, ("\n\n", "Task:"))]

    async def ask() -> None:
        client = Client(serve(script))
        for number, sampling in enumerate(samplings):
            await client.complete(Request("r", MESSAGES, sampling, seed_from(recipe.seed, name, number)))
        await client.close()

    asyncio.run(ask())
    assert len(script.bodies) == len(samplings) > 3
    for body in script.bodies:
        check("request", body)


@pytest.mark.slow
def test_our_own_server_answers_as_tgi_does(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from components.serving.embedded.http.server import served_in_process
    from components.serving.embedded.scheduler.engine import Limits

    folder = make_tiny_model(tmp_path / "model")
    model: Any = AutoModelForCausalLM.from_pretrained(folder).eval()
    with served_in_process(model, AutoTokenizer.from_pretrained(folder), Limits(max_total_tokens=256)) as url:
        check("info", httpx2.get(f"{url}/info").json())
        asked = {
            "messages": MESSAGES,
            "max_tokens": 4,
            "seed": 1,
            "temperature": 0.7,
            "logprobs": True,
            "top_logprobs": 5,
        }
        check("request", asked)
        check("answer", httpx2.post(f"{url}/v1/chat/completions", json=asked).json())
        too_long = httpx2.post(f"{url}/v1/chat/completions", json=asked | {"max_tokens": 1000})
        assert too_long.status_code == 422
        check("error", too_long.json())
