"""vLLM's real server takes models that were trained by LoRA as adapters, while it serves what they come from."""

from __future__ import annotations

import shlex
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest
import torch
from transformers import AutoModelForCausalLM

from components.core.errors import UserError
from components.core.model_files import model_folder
from components.core.stage import read_manifest
from components.core.store import open_store, store_environment
from components.serving.kubernetes.adapters import Adapters, ask_for_adapter, server
from components.serving.kubernetes.launch import LAUNCHES, RUN_TIME_ADAPTERS, ServedModel
from components.serving.settings import ServingSettings
from components.training.dpo.dpo import DpoInputs, train_dpo
from components.training.settings import LoraSettings
from components.training.sft.sft import fine_tune
from pipelines.local.services import BUCKET, services
from tests.components.training.test_training import base, dpo_settings, seeds, sft_settings, toy_pairs, uri
from tests.helpers.engine_servers import ON_CPU, VENV, VLLM, await_health, started
from tests.helpers.tiny_model import make_tiny_model

pytestmark = pytest.mark.engines
PROMPT, NEW_TOKENS = list(range(40)), 12


@dataclass(frozen=True)
class Chain:
    """M0, its SFT by LoRA, DPO of that by LoRA, and a model of another M0: URIs of their stages."""

    m0: str
    m1: str
    m2: str
    stranger: str


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    if not (VENV / "bin/python").exists():
        pytest.fail("vLLM is not installed: `make test-engines` does that")
    folder = tmp_path_factory.mktemp("chain")
    with (
        store_environment({"SRLM_HOME": str(folder / "home")}),
        services(registry=False) as local,
        store_environment(local.environment()),
    ):
        root, lora = f"s3://{BUCKET}/adapters", LoraSettings(rank=4, alpha=8)
        open_store(root).write("first", b"")  # a bucket is there once something is in it
        m0, other = (base(root, make_tiny_model(folder / f"m0-{seed}", seed, heads=2)) for seed in (0, 1))
        m1, stranger = (
            uri(root, fine_tune(root, sft_settings(max_steps=4, lora=lora), start, seeds(root)))
            for start in (m0, other)
        )
        m2 = uri(root, train_dpo(root, dpo_settings(max_steps=4), DpoInputs(m1, toy_pairs(root))))
        yield Chain(m0, m1, m2, stranger)


@pytest.fixture(scope="module")
def vllm(chain: Chain, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """As its Deployment starts it, on a CPU."""
    model = ServedModel(chain.m0, read_manifest(chain.m0).digest, str(model_folder(chain.m0)))
    arguments = LAUNCHES["vllm"].arguments(model, ServingSettings(adapter_rank=8))
    log = tmp_path_factory.mktemp("log") / "vllm.log"
    told = shlex.join(argument for argument in arguments if not argument.startswith("--port"))
    with started(f"{VLLM} {told} {ON_CPU}", log, **RUN_TIME_ADAPTERS) as url:
        await_health(url, log)
        yield url


@pytest.fixture(scope="module")
def beside(chain: Chain, vllm: str) -> Iterator[str]:
    """What stands beside it in its pod."""
    here = server(Adapters(chain.m0, vllm), 0)
    threading.Thread(target=here.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{here.server_port}"
    here.shutdown()


def answer(url: str, name: str) -> list[int]:
    body = {"model": name, "prompt": PROMPT, "max_tokens": NEW_TOKENS, "temperature": 0, "ignore_eos": True}
    response = httpx2.post(
        f"{url}/v1/completions", json=body | {"return_token_ids": True}, timeout=300, trust_env=False
    )
    response.raise_for_status()
    return list(response.json()["choices"][0]["token_ids"])


@torch.no_grad()
def likeliest(model: str) -> list[int]:
    """By the merged weights."""
    loaded, ids = AutoModelForCausalLM.from_pretrained(model_folder(model)).eval(), list(PROMPT)
    for _ in range(NEW_TOKENS):
        ids.append(int(loaded(torch.tensor([ids])).logits[0, -1].argmax()))
    return ids[len(PROMPT) :]


def test_it_answers_as_the_merged_models_do(chain: Chain, vllm: str, beside: str) -> None:
    """In fp32, greedily; each under its digest, and the base under its own. Asked for again, nothing changes."""
    for model in (chain.m1, chain.m2, chain.m2):
        ask_for_adapter(beside, model)
    texts = {name: likeliest(model) for name, model in vars(chain).items() if name != "stranger"}
    assert len({tuple(text) for text in texts.values()}) == 3
    for name, text in texts.items():
        assert answer(vllm, read_manifest(getattr(chain, name)).digest) == text, name


def test_a_name_that_is_not_loaded_is_refused(chain: Chain, vllm: str) -> None:
    """It must not be the base that answers."""
    with pytest.raises(httpx2.HTTPStatusError, match="404"):
        answer(vllm, read_manifest(chain.stranger).digest)


def test_models_of_other_weights_do_not_come(chain: Chain, beside: str) -> None:
    with pytest.raises(UserError, match="changes the weights of .* Ask its own server"):
        ask_for_adapter(beside, chain.stranger)


def test_a_path_is_no_model(beside: str, tmp_path: Path) -> None:
    """Whoever reaches the port could else have files of the pod read."""
    with pytest.raises(UserError, match="cannot fetch"):
        ask_for_adapter(beside, str(tmp_path))
