"""The next round's model in a server that goes on: a LoRA adapter that vLLM loads at run time, beside a new server.

Real vLLM on this machine's CPUs (SRLM_TEST_VLLM or .venv-vllm); without it, and when quick, there is no row.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import httpx2
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from components.serving.kubernetes.launch import RUN_TIME_ADAPTERS
from tests.benchmarks.row import Row
from tests.benchmarks.small_model import make_small_model
from tests.helpers.engine_servers import ON_CPU, VENV, VLLM, await_health, started


def save_adapter(model: Path, folder: Path, seed: int) -> Path:
    """One that changes every answer: of rank 16, on all layers, as the recipes train it."""
    torch.manual_seed(seed)
    adapter = get_peft_model(
        AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32), LoraConfig(r=16, target_modules="all-linear")
    )
    with torch.no_grad():
        for name, weight in adapter.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.5)
    adapter.save_pretrained(folder)
    return folder


def answer(url: str, name: str) -> tuple[int, ...]:
    """Tokens: of this model's vocabulary most have no text."""
    body = {"model": name, "prompt": "Who are you?", "max_tokens": 16, "temperature": 0, "return_token_ids": True}
    response = httpx2.post(f"{url}/v1/completions", json=body, timeout=300, trust_env=False)
    response.raise_for_status()
    return tuple(response.json()["choices"][0]["token_ids"])


def load_adapter(url: str, name: str, folder: Path) -> None:
    body = {"lora_name": name, "lora_path": str(folder)}
    httpx2.post(f"{url}/v1/load_lora_adapter", json=body, timeout=300, trust_env=False).raise_for_status()


def rows(quick: bool) -> list[Row]:
    """Seconds until the first answer. Raises AssertionError where the adapters answer as the model without."""
    if quick or not (VENV / "bin" / "python").exists():
        return []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        model, log = make_small_model(folder / "model"), folder / "log"
        adapters = [save_adapter(model, folder / f"m{number}", number) for number in (2, 3)]
        command = f"{VLLM} --model {model} --served-model-name m --max-model-len 512 --enable-lora --max-lora-rank 16"
        begun = time.perf_counter()
        with started(f"{command} {ON_CPU}", log, **RUN_TIME_ADAPTERS) as url:
            await_health(url, log)
            answers, new_server, warm = [answer(url, "m")], time.perf_counter() - begun, []
            for adapter in adapters:
                begun = time.perf_counter()
                load_adapter(url, adapter.name, adapter)
                answers.append(answer(url, adapter.name))
                warm.append(time.perf_counter() - begun)
    assert len(set(answers)) == 3, answers
    note = f"{len(warm)} adapters one after the other, the slower one"
    return [Row("a new model, warm vLLM", "s", max(warm), "a new server", new_server, less_is_better=True, note=note)]
