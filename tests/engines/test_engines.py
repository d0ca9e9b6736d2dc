"""One suite for every engine, on real servers that its checks share: what it can do, keys, names, replicas, and another
model at the same address (issue 13)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from components.base_model.base_model import import_model
from components.base_model.settings import BaseModelSettings
from components.core.errors import UserError
from components.core.model_files import model_folder
from components.core.stage import read_manifest
from components.core.store import join
from components.serving.address import ENDPOINT_KEY, JUDGE_KEY, Address
from components.serving.client import Client, Completion, Request, Sampling
from components.serving.conformance import examine
from components.serving.description import check_endpoint, endpoint_identity, endpoint_info, resolve
from components.serving.engines.engine import EndpointEngine
from components.serving.engines.processes import CommandEngine
from components.serving.kubernetes.launch import ServedModel
from components.serving.patience import RetryPolicy
from components.serving.settings import ServingSettings
from tests.helpers.balancer import balanced
from tests.helpers.engine_servers import TRANSFORMERS, VENV, Served, await_health, launch_of, started
from tests.helpers.tiny_model import make_tiny_model

pytestmark = pytest.mark.engines
ENGINES = ("embedded", "transformers serve", "vllm")
LACKING = {  # docs/engines.md
    "embedded": {"refuses another model's name": "no"},
    "transformers serve": {
        "tells its context": "no",
        "draws at temperature 1": "no",
        "gives log-probabilities": "no",
        "refuses a prompt that is too long": "unknown",
    },
    "vllm": {},
}
WARM = Sampling(1.0, 1.0, 16)
PATIENT = RetryPolicy(attempts=6, first_wait=0.1, patience=120)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Stages of two models: what is served, and what is served after it."""
    if not (VENV / "bin/python").exists():
        pytest.fail("vLLM is not installed: `make test-engines` does that")
    root = tmp_path_factory.mktemp("engines")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SRLM_HOME", str(root / "home"))
        folders = [make_tiny_model(root / f"model{seed}", seed, heads=2) for seed in (0, 1)]
        first, second = (import_model(str(root), BaseModelSettings(base=str(folder))) for folder in folders)
        yield join(str(root), first.stage, first.key), join(str(root), second.stage, second.key)


def served_model(uri: str) -> ServedModel:
    return ServedModel(uri, read_manifest(uri).digest, str(model_folder(uri)))


@pytest.fixture(scope="module", params=ENGINES)
def served(
    request: pytest.FixtureRequest, models: tuple[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    command, key = launch_of(request.param, served_model(models[0]))
    logs = [tmp_path_factory.mktemp("logs") / f"{number}.log" for number in range(2)]
    with ExitStack() as servers:
        first, second = (servers.enter_context(started(command, log)) for log in logs)
        for url, log in zip((first, second), logs, strict=True):
            await_health(url, log)
        yield Served(request.param, models[0], (first, second), key)


@pytest.fixture
def address(served: Served, monkeypatch: pytest.MonkeyPatch) -> Address:
    """With its key, if it wants one; by the name that it lists first."""
    monkeypatch.setenv(ENDPOINT_KEY, served.key)
    return resolve(served.address)


def ask(endpoint: Address, seeds: int, sampling: Sampling = WARM, at_once: bool = True) -> list[Completion]:
    async def run() -> list[Completion]:
        client = Client(endpoint, PATIENT)
        try:
            asked = [
                client.complete(Request(str(seed), [{"role": "user", "content": "Hello"}], sampling, seed))
                for seed in range(seeds)
            ]
            return list(await asyncio.gather(*asked)) if at_once else [await one for one in asked]
        finally:
            await client.close()

    return asyncio.run(run())


def texts(completions: list[Completion]) -> list[str]:
    assert all(one.finish_reason in ("stop", "length") for one in completions), completions
    return [one.text for one in completions]


def test_it_can_do_what_the_page_says(served: Served, address: Address) -> None:
    """vLLM with the arguments that its Deployment gets on Kubernetes."""
    found = {ability.name: ability.state for ability in examine(address) if ability.state != "yes"}
    assert found == LACKING[served.engine]


def test_a_wrong_key_is_refused_on_every_route(
    served: Served, address: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By what names the variable to set; a server that wants none takes any."""
    routes: dict[str, Callable[[], object]] = {
        "list": lambda: endpoint_info(served.address),
        "before any work": lambda: check_endpoint(served.address),
        "identity": lambda: endpoint_identity(served.address),
        "engine": lambda: EndpointEngine(served.urls[0]).check(),
        "questions": lambda: ask(address, 1),
        "examination": lambda: list(examine(served.address)),
    }
    for key, seen in (("sk-wrong", "the key in it"), ("", "it, which is not set")):
        monkeypatch.setenv(ENDPOINT_KEY, key)
        for name, route in routes.items():
            if not served.key:
                if name != "examination":  # that takes long where nothing is refused
                    route()
                continue
            with pytest.raises(UserError, match="refused the key") as error:
                route()
            assert f"Check {ENDPOINT_KEY}: {seen}" in error.value.remedy, name


def test_its_names(served: Served, address: Address, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several names of one model are one model; a wrong one is refused before any work, where the engine looks."""
    monkeypatch.setenv(JUDGE_KEY, served.key)
    judge = Address(served.urls[0], key_variable=JUDGE_KEY)
    check_endpoint(judge)
    names = {"vllm": [read_manifest(served.model).digest, "dummy"], "embedded": [served.model]}.get(served.engine, [])
    for name in names:
        check_endpoint(Address(judge.url, name, JUDGE_KEY))
    wrong = Address(judge.url, "gpt-9", JUDGE_KEY)
    if served.engine == "embedded":  # as TGI: one model, any name
        check_endpoint(wrong)
        return
    with pytest.raises(UserError, match="refused the model's name 'gpt-9'") as error:
        check_endpoint(wrong)
    assert "--judge-model" in error.value.remedy


def test_replicas_behind_one_address(served: Served, address: Address) -> None:
    """What a seed draws is the same from either; both are asked; when one is lost, nothing is missing."""
    apart = [Address(url, address.model, ENDPOINT_KEY) for url in served.urls]
    assert texts(ask(apart[0], 4, at_once=False)) == texts(ask(apart[1], 4, at_once=False))
    with balanced(*served.urls) as service:
        together = Address(service.url, address.model, ENDPOINT_KEY)
        assert len(texts(ask(together, 16))) == 16
        assert all(service.connections[url] for url in served.urls)
        service.lost = {served.urls[1]}
        service.cut()
        assert len(texts(ask(together, 16))) == 16


def test_another_model_at_the_same_address(
    served: Served, address: Address, models: tuple[str, str], tmp_path: Path
) -> None:
    """--engine endpoint: M(t+1) is asked only once it is served there, by its URI or digest. What takes its place is
    our own server, whatever the engine was."""
    command, _ = launch_of("embedded", served_model(models[1]))
    log = tmp_path / "next.log"
    with started(command, log) as following, balanced(served.urls[0]) as place:
        engine = EndpointEngine(place.url)
        before = texts(ask(engine.start("run", "m0", models[0], ServingSettings()), 2, at_once=False))
        with pytest.raises(UserError, match="but m1 is"):
            engine.start("run", "m1", models[1], ServingSettings())
        await_health(following, log)
        place.lead_to(following)
        after = texts(ask(engine.start("run", "m1", models[1], ServingSettings()), 2, at_once=False))
        assert before != after
        with pytest.raises(UserError, match="but m0 is"):
            engine.start("run", "m0", models[0], ServingSettings())


def test_a_command_may_start_transformers_serve(models: tuple[str, str]) -> None:
    """Its list of models fails (status 500) when it was given a folder, whose path is the only name that it takes."""
    engine = CommandEngine(f"{TRANSFORMERS} {{model}} --port {{port}} --device cpu")
    try:
        url = engine.start("run", "m0", models[0], ServingSettings())
        assert len(texts(ask(resolve(url), 2))) == 2
    finally:
        engine.stop("run")
