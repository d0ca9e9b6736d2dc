"""Real engines as processes of this machine: two servers of one model each, started together."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from components.core.processes import end, free_ports
from components.serving.address import ENDPOINT_KEY, Address
from components.serving.kubernetes.launch import LAUNCHES, ServedModel
from components.serving.settings import ServingSettings
from tests.helpers.paths import ROOT

VENV = Path(os.environ.get("SRLM_TEST_VLLM", ROOT / ".venv-vllm"))
VLLM = f"{VENV}/bin/python -m vllm.entrypoints.openai.api_server"
# Chunked prefill with a seed for each request ends vLLM 0.32 on a CPU; without it a batch must hold the longest prompt.
# One gigabyte is for keys and values; by default they take most of the machine's memory.
ON_CPU = "--enforce-eager --no-enable-chunked-prefill --max-num-batched-tokens 32768 --kv-cache-memory-bytes 1G"
EMBEDDED = f"{sys.executable} -m components.serving.embedded"
TRANSFORMERS = f"{Path(sys.executable).with_name('transformers')} serve"
KEY = "sk-of-the-tests"
START_TIMEOUT_S = 600.0


@dataclass(frozen=True)
class Served:
    """An engine's two servers of one model, whose stage is `model`; `key` is what they want, "" none."""

    engine: str
    model: str
    urls: tuple[str, str]
    key: str

    @property
    def address(self) -> Address:
        """Of the first; the key is that of the environment."""
        return Address(self.urls[0], key_variable=ENDPOINT_KEY)


def launch_of(engine: str, model: ServedModel) -> tuple[str, str]:
    """The command line without a port, with the arguments that its Deployment on Kubernetes gets, and the key."""
    if engine == "transformers serve":
        return f"{TRANSFORMERS} {shlex.quote(model.path)} --device cpu", ""
    ours = LAUNCHES["vllm" if engine == "vllm" else "transformers"].arguments(model, ServingSettings())
    arguments = shlex.join(argument for argument in ours if not argument.startswith("--port"))
    if engine == "vllm":
        return f"{VLLM} {arguments} {ON_CPU} --api-key {KEY}", KEY
    return f"{EMBEDDED} {arguments}", ""


@contextmanager
def started(command: str, log: Path, **environment: str) -> Iterator[str]:
    """The URL of a server while the context lasts; it may take a while until it answers."""
    (port,) = free_ports(1)
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*shlex.split(command), "--port", str(port)],
            cwd=ROOT,
            env=os.environ | {"HF_HUB_OFFLINE": "1"} | environment,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        end(process.pid, group=True)


def await_health(url: str, log: Path) -> None:
    """All three engines have this route. Raises AssertionError with the log's end."""
    import httpx2

    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            if httpx2.get(f"{url}/health", timeout=5, trust_env=False).status_code == 200:
                return
        except httpx2.RequestError:
            pass
        assert time.monotonic() < deadline, log.read_text(errors="replace")[-3000:]
        time.sleep(0.5)
