"""vLLM's real server, on the CPU: what it can do, and a whole run that it serves."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from components.base_model.base_model import import_model
from components.base_model.settings import BaseModelSettings
from components.core.store import join
from components.serving.conformance import examine
from components.serving.engines.processes import CommandEngine
from components.serving.kubernetes.launch import LAUNCHES, ServedModel
from components.serving.settings import ServingSettings
from tests.helpers.paths import ROOT
from tests.helpers.small_world import VERDICTS, SmallWorld
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


def test_a_run_served_by_vllm_comes_to_the_same_verdicts(small_world: SmallWorld, tmp_path: Path) -> None:
    """M1 to M3, learning for real: the verdicts are those of the run that the embedded engine serves
    (tests/pipelines/test_loop.py); each model is served by a vLLM of its own."""
    command = [sys.executable, "-m", "pipelines.cli.main", "run", str(small_world.recipe)]
    command += ["--annotator-endpoint", small_world.annotator, "--engine", "command"]
    command += ["--set", f"serving.command={COMMAND}", "--set", "serving.dtype=float32"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "SRLM_"))}
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env=environment | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TIMEOUT_S,
    )
    assert done.returncode == 0, done.stdout
    summary = json.loads(next(tmp_path.glob(".srlm/runs/*/summary.json")).read_text())
    assert [model["name"] for model in summary["models"]] == ["m0", "sft", "m1", "m2", "m3"]
    assert [model["verdict"] for model in summary["models"]] == VERDICTS
    logs = [path for path in tmp_path.glob(".srlm/servers/*/*.log") if "vLLM" in path.read_text(errors="replace")]
    assert {path.stem for path in logs} >= {"m1", "m2", "m3"}
