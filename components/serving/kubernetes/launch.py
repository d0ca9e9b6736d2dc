"""How each engine's image is told what to serve."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from components.core.images import ENGINE, TGI, VLLM

if TYPE_CHECKING:
    from components.serving.settings import ServingSettings

PORT = 8080
MODEL = "/tmp/model"  # noqa: S108  where components/serving/weights.py leaves a link to the files in the pod
ADAPTERS_PORT = 8081  # where components/serving/kubernetes/adapters.py is asked for a model's
LORA_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)  # that vLLM has room for
# It must be told so beside its arguments; that a model's name and a path in the pod are all it takes is our guard.
RUN_TIME_ADAPTERS = {"VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True"}
QUEUE = 1024  # requests that may wait at TGI (its default is 128): recipes ask with up to 256 at once for each stage


@dataclass(frozen=True)
class ServedModel:
    """A model to serve: its stage's URI and digest, and the path of its files inside the pod; their bytes, 0 where
    nobody knows them."""

    uri: str
    digest: str
    path: str
    size: int = 0


@dataclass(frozen=True)
class Launch:
    """An engine: its default image, and its launcher's arguments for a model."""

    image: str
    arguments: Callable[[ServedModel, ServingSettings], list[str]]


def _dtype(settings: ServingSettings) -> str:
    """What auto means, told to engines that would go by the files: there weights may lie in fp32, and are then served
    in fp16."""
    auto = "bfloat16" if settings.pod.gpus else "float32"
    return auto if settings.dtype == "auto" else settings.dtype


def _transformers(model: ServedModel, settings: ServingSettings) -> list[str]:
    arguments = [
        f"--model={model.path}",
        f"--model-id={model.uri}",
        f"--model-sha={model.digest}",
        f"--max-batch={settings.max_batch}",
        f"--max-total-tokens={settings.max_total_tokens}",
        f"--dtype={settings.dtype}",
    ]
    arguments += [f"--quantize={settings.quantize}"] if settings.quantize else []
    return arguments + ([f"--gpus={settings.pod.gpus}"] if settings.pod.gpus else [])  # else it would take to CPUs


def _tgi(model: ServedModel, settings: ServingSettings) -> list[str]:
    """Text Generation Inference's launcher. It has no fp32, and takes no data type beside a quantization."""
    arguments = [
        f"--model-id={model.path}",
        f"--port={PORT}",
        f"--num-shard={max(1, settings.pod.gpus)}",
        f"--max-total-tokens={settings.max_total_tokens}",
        f"--max-input-tokens={settings.max_total_tokens - 1}",
        f"--max-concurrent-requests={QUEUE}",
    ]
    in_bf16 = _dtype(settings) == "bfloat16" and not settings.quantize
    arguments += ["--dtype=bfloat16"] if in_bf16 else []
    return arguments + ([f"--quantize={settings.quantize}"] if settings.quantize else [])


def _vllm(model: ServedModel, settings: ServingSettings) -> list[str]:
    """vLLM's OpenAI-compatible server. It refuses names that it does not serve: our client sends the last.

    Without --generation-config vllm the model's generation_config.json would set what the recipe leaves alone (top_k,
    repetition_penalty, ...); the tokens at which it stops are read from there in either case.
    """
    arguments = [
        f"--model={model.path}",
        "--served-model-name",
        model.digest,
        "dummy",
        f"--port={PORT}",
        f"--tensor-parallel-size={max(1, settings.pod.gpus)}",
        f"--max-model-len={settings.max_total_tokens}",
        f"--dtype={_dtype(settings)}",
        "--generation-config=vllm",
    ]
    arguments += [f"--quantization={settings.quantize}"] if settings.quantize else []
    return arguments + (_adapters(settings.adapter_rank) if settings.adapter_rank else [])


def _adapters(rank: int) -> list[str]:
    """A round compares its model with the one before it: two at a time."""
    return ["--enable-lora", f"--max-lora-rank={next(most for most in LORA_RANKS if most >= rank)}", "--max-loras=2"]


LAUNCHES = {
    "transformers": Launch(ENGINE, _transformers),
    "tgi": Launch(TGI, _tgi),
    "vllm": Launch(VLLM, _vllm),
}
