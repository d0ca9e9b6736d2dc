"""Servers that a command line starts: found again, held to the model, ended whole; each mistake has one message."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from components.base_model.base_model import import_model
from components.base_model.settings import BaseModelSettings
from components.core.errors import UserError
from components.core.processes import alive
from components.core.store import join
from components.serving.description import endpoint_info
from components.serving.engines.engine import open_engine
from components.serving.engines.processes import CommandEngine
from components.serving.settings import ServingSettings
from tests.helpers.paths import ROOT
from tests.helpers.scripted_endpoint import Script
from tests.helpers.tiny_model import make_tiny_model

pytestmark = pytest.mark.slow
SERVER = f"{sys.executable} -m components.serving.embedded --model {{model}} --port {{port}} --threads 1"
SETTINGS = ServingSettings(start_timeout=120)
TIMEOUT_S = 60.0


@pytest.fixture
def models(tmp_path: Path) -> tuple[str, str]:
    """URIs of two models."""
    settings = [BaseModelSettings(base=str(make_tiny_model(tmp_path / str(seed), seed))) for seed in (0, 1)]
    root = str(tmp_path / "store")
    first, second = (import_model(root, one) for one in settings)
    return join(root, first.stage, first.key), join(root, second.stage, second.key)


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], CommandEngine]]:
    """Makes engines for a command; what they started ends with the test."""
    monkeypatch.setenv("SRLM_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(ROOT)
    yield CommandEngine
    CommandEngine("").stop("run")


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_server_is_found_again_and_never_answers_for_another_model(
    models: tuple[str, str], engine: Callable[[str], CommandEngine]
) -> None:
    """The server tells nothing of the model's digest: what it was started for is remembered beside it."""
    url = engine(SERVER).start("run", "m1", models[0], SETTINGS)
    assert not endpoint_info(url).get("model_sha")
    assert engine(SERVER).start("run", "m1", models[0], SETTINGS) == url
    assert engine(SERVER).start("run", "m1", models[1], SETTINGS) != url
    with pytest.raises(UserError):
        endpoint_info(url)


def test_processes_that_a_server_starts_end_with_it(
    models: tuple[str, str], engine: Callable[[str], CommandEngine], tmp_path: Path
) -> None:
    """As vLLM's engine does: a child of the server that ignores its parent's end."""
    pids = tmp_path / "pids"
    shell = f"sleep 600 & echo $! > {pids}; echo $$ >> {pids}; exec {SERVER}"
    engine(f'sh -c "{shell}"').start("run", "m1", models[0], SETTINGS)
    child, server = map(int, pids.read_text().split())
    engine("").stop("run", "m1")
    wait_until(lambda: not alive(server) and not alive(child))


def test_a_server_ends_with_the_run_that_it_belongs_to(
    models: tuple[str, str], engine: Callable[[str], CommandEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    with subprocess.Popen(["sleep", "600"]) as owner:
        monkeypatch.setenv("SRLM_OWNER_PID", str(owner.pid))
        url = engine(SERVER).start("run", "m1", models[0], SETTINGS)
        os.kill(owner.pid, signal.SIGKILL)

    def gone() -> bool:
        try:
            endpoint_info(url)
        except UserError:
            return True
        return False

    wait_until(gone)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("sh -c 'kill -9 $$' {model} {port}", "m1 was killed while it started, as the kernel does where memory ends"),
        ("sh -c 'echo no such flag >&2; exit 3' {model} {port}", "m1 ended at once: no such flag"),
        ("/nowhere/vllm serve {model} --port {port}", "/nowhere/vllm cannot be started: No such file or directory"),
        ("sh -c 'sleep 600' {model} {port}", "m1 was not loaded after 2 s"),
    ],
)
def test_a_server_that_does_not_come_up(
    command: str, message: str, models: tuple[str, str], engine: Callable[[str], CommandEngine]
) -> None:
    with pytest.raises(UserError, match=message):
        engine(command).start("run", "m1", models[0], ServingSettings(start_timeout=2 if "loaded" in message else 60))


def test_our_own_server_says_which_quantization_it_does_not_have(
    models: tuple[str, str], engine: Callable[[str], CommandEngine]
) -> None:
    settings = ServingSettings(start_timeout=60, quantize="fp8")
    with pytest.raises(UserError, match="m1 ended at once: .*does not know serving.quantize 'fp8'.* It has int8"):
        open_engine("embedded").start("run", "m1", models[0], settings)


@pytest.mark.parametrize(
    ("command", "missing"),
    [("", "{model} and {port}"), ("vllm serve --port {port}", "{model}"), ("v {model}", "{port}")],
)
def test_a_command_without_its_slots_is_refused_before_any_work(command: str, missing: str) -> None:
    with pytest.raises(UserError, match=f"needs {missing} in serving.command"):
        open_engine("command", command=command).check()


def test_a_server_that_wants_a_key_is_not_waited_for(
    models: tuple[str, str], engine: Callable[[str], CommandEngine], serve: Callable[[Script], str]
) -> None:
    """vLLM with --api-key, or with VLLM_API_KEY in the environment: servers of a run are asked without a key."""
    port = urlsplit(serve(Script(lambda *_: (401, {"error": "Unauthorized"}), {}))).port
    started = engine("sh -c 'sleep 600' {model} {port}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("components.serving.engines.processes.free_ports", lambda _: [port])
        with pytest.raises(UserError) as error:
            started.start("run", "m1", models[0], SETTINGS)
    assert "refused the key (Unauthorized)" in str(error.value)
    assert "VLLM_API_KEY" in str(error.value)


def test_json_in_a_command_is_left_as_it_is(models: tuple[str, str], engine: Callable[[str], CommandEngine]) -> None:
    """The program fails with its arguments, so that they can be seen."""
    command = 'sh -c \'echo "$0" >&2; exit 3\' \'{"name": "{name}", "n": {}}\' {model} {port}'
    with pytest.raises(UserError) as error:
        engine(command).start("run", "m1", models[0], SETTINGS)
    assert '{"name": "m1", "n": {}}' in str(error.value)
