"""vLLM's real server, on the CPU: what it can do, and a whole run that it serves."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from components.base_model.base_model import import_model
from components.base_model.settings import BaseModelSettings
from components.core.store import join
from components.serving.conformance import examine
from components.serving.engines.processes import CommandEngine
from components.serving.kubernetes.launch import LAUNCHES, ServedModel
from components.serving.settings import ServingSettings
from examples.world.model import write_model
from tests.helpers.paths import ROOT
from tests.helpers.small_world import SEED, SmallWorld, make_small_world
from tests.helpers.tiny_model import make_tiny_model

pytestmark = pytest.mark.engines
VENV = Path(os.environ.get("SRLM_TEST_VLLM", ROOT / ".venv-vllm"))
# Chunked prefill with a seed for each request ends vLLM 0.32 on a CPU; without it a batch must hold the longest prompt.
# Of the machine's memory it takes a tenth, for keys and values one gigabyte.
PROGRAM = f"env VLLM_CPU_KVCACHE_SPACE=1 {VENV}/bin/python -m vllm.entrypoints.openai.api_server"
ON_CPU = "--enforce-eager --no-enable-chunked-prefill --max-num-batched-tokens 32768 --gpu-memory-utilization 0.1"
COMMAND = (
    f"{PROGRAM} --model {{model}} --port {{port}} --max-model-len {{max_total_tokens}} --dtype float32 "
    f"--generation-config vllm {ON_CPU}"
)
TIMEOUT_S = 3600.0


@pytest.fixture(scope="module", autouse=True)
def installed() -> None:
    if not (VENV / "bin/python").exists():
        pytest.fail("vLLM is not installed: `make test-engines` does that")


def test_vllm_as_we_launch_it_does_all_that_a_run_asks_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the arguments that its Deployment gets on Kubernetes."""
    monkeypatch.setenv("SRLM_HOME", str(tmp_path / "home"))
    made = import_model(str(tmp_path), BaseModelSettings(base=str(make_tiny_model(tmp_path / "model", heads=2))))
    launched = LAUNCHES["vllm"].arguments(ServedModel("s3://store/m0", made.digest, "{model}"), ServingSettings())
    ours = [argument for argument in launched if not argument.startswith("--port")]  # 8080 may be taken here
    engine = CommandEngine(f"{PROGRAM} --port {{port}} {shlex.join(ours)} {ON_CPU}")
    engine.check()
    try:
        url = engine.start("run", "m0", join(str(tmp_path), made.stage, made.key), ServingSettings())
        lacking = [ability for ability in examine(url) if ability.state != "yes"]
    finally:
        engine.stop("run")
    assert not lacking


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallWorld]:
    """The small world with a model whose heads are as wide as vLLM wants them on a CPU."""
    folder = tmp_path_factory.mktemp("world")
    with make_small_world(folder) as world:
        shutil.rmtree(folder / "model")
        write_model(folder / "model", SEED, heads=3)
        yield world


def run(world: SmallWorld, folder: Path, *options: str) -> dict[str, Any]:
    """The summary of a whole run in an empty folder."""
    command = [sys.executable, "-m", "pipelines.cli.main", "run", str(world.recipe)]
    command += ["--annotator-endpoint", world.annotator, *options]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "SRLM_"))}
    folder.mkdir()
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TIMEOUT_S,
    )
    assert done.returncode == 0, done.stdout
    return json.loads(next(folder.glob(".srlm/runs/*/summary.json")).read_text())


def verdicts(summary: dict[str, Any]) -> dict[str, str]:
    return {model["name"]: model["verdict"] for model in summary["models"] if model.get("verdict")}


def test_a_run_served_by_vllm_comes_to_the_same_verdicts(world: SmallWorld, tmp_path: Path) -> None:
    """M1 to M3, learning for real (tests/helpers/small_world.py): both engines draw from the same models."""
    ours = run(world, tmp_path / "embedded")
    command = ("--engine", "command", "--set", f"serving.command={COMMAND}", "--set", "serving.dtype=float32")
    by_vllm = run(world, tmp_path / "vllm", *command)
    assert verdicts(ours) and verdicts(by_vllm) == verdicts(ours)
    assert [model["name"] for model in by_vllm["models"]] == ["m0", "sft", "m1", "m2", "m3"]
