"""The real process: ready file, requests over HTTP, its owner's death, SIGTERM, and start-up errors."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from components.serving import embedded
from tests.helpers.paths import ROOT
from tests.helpers.tiny_model import make_tiny_model

pytestmark = pytest.mark.slow
# Generous, because the machine may be busy; nothing here waits that long when all is well.
TIMEOUT_S = 120.0

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts engines and kills what is left of them."""
    started: list[subprocess.Popen[str]] = []

    def launch(model: Path, *options: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", embedded.__name__, "--model", str(model), "--threads", "1"]
        command += ["--dtype", "float32", "--ready-file", str(tmp_path / "ready.json"), *options]
        process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield launch
    for process in started:
        process.kill()
        process.wait()


def url_when_ready(tmp_path: Path, process: subprocess.Popen[str]) -> str:
    ready, deadline = tmp_path / "ready.json", time.monotonic() + TIMEOUT_S
    while not ready.exists():
        assert process.poll() is None, "the engine ended before it was ready"
        assert time.monotonic() < deadline, "the engine did not start"
        time.sleep(0.1)
    content = json.loads(ready.read_text())
    assert content["pid"] == process.pid
    return str(content["url"])


def post(url: str, body: dict[str, Any]) -> Any:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
        return json.load(response)


def test_concurrent_requests_over_http_then_sigterm(model: Path, start: Start, tmp_path: Path) -> None:
    process = start(model, "--model-id", "tiny", "--model-sha", "abc")
    url = url_when_ready(tmp_path, process)
    assert json.load(urllib.request.urlopen(f"{url}/info"))["model_sha"] == "abc"

    def ask(seed: int) -> str:
        body = {"messages": [{"role": "user", "content": f"question {seed % 4}"}], "max_tokens": 20, "seed": seed}
        return str(post(f"{url}/v1/chat/completions", body)["choices"][0]["message"]["content"])

    with ThreadPoolExecutor(16) as pool:
        together = list(pool.map(ask, range(16)))
    assert [ask(seed) for seed in range(16)] == together
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=TIMEOUT_S) == 0


def test_sigterm_ends_a_busy_engine_soon(model: Path, start: Start, tmp_path: Path) -> None:
    process = start(model)
    url = url_when_ready(tmp_path, process)
    with ThreadPoolExecutor(8) as pool:
        body = {"inputs": "x", "parameters": {"max_new_tokens": 2000, "do_sample": True, "stop": ["never, never"]}}
        answers = [pool.submit(post, f"{url}/generate", body) for _ in range(8)]
        time.sleep(0.5)
        begun = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=TIMEOUT_S) == 0
        # 1 s of grace for answers; the rest is room for a busy machine.
        assert time.monotonic() - begun < 10
        for answer in answers:
            answer.exception(timeout=TIMEOUT_S)


def test_the_engine_ends_with_its_owner(model: Path, start: Start, tmp_path: Path) -> None:
    owner = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
    try:
        process = start(model, "--owner-pid", str(owner.pid))
        url_when_ready(tmp_path, process)
        assert process.poll() is None
    finally:
        # Killed and not yet reaped: a zombie is gone too.
        os.kill(owner.pid, signal.SIGKILL)
    assert process.wait(timeout=TIMEOUT_S) == 0
    owner.wait()


def test_an_engine_that_cannot_start_says_why(start: Start, tmp_path: Path) -> None:
    process = start(tmp_path / "nothing")
    _, stderr = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 2
    assert "holds no safetensors weights" in stderr
    assert "Traceback" not in stderr
    assert not (tmp_path / "ready.json").exists()


def test_a_taken_port_is_named(model: Path, start: Start, tmp_path: Path) -> None:
    url = url_when_ready(tmp_path, start(model))
    port = url.rpartition(":")[2]
    second = start(model, "--port", port)
    _, stderr = second.communicate(timeout=TIMEOUT_S)
    assert second.returncode == 2
    assert f"127.0.0.1:{port}" in stderr
