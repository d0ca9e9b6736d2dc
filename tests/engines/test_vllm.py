"""A whole run that vLLM's real server serves, on the CPU: each model by a server of its own, one after the other."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.engine_servers import ON_CPU, VENV, VLLM
from tests.helpers.paths import ROOT
from tests.helpers.small_world import VERDICTS, SmallWorld

pytestmark = [pytest.mark.engines, pytest.mark.nightly]
COMMAND = (
    f"{VLLM} --model {{model}} --port {{port}} --max-model-len {{max_total_tokens}} --dtype float32 "
    f"--generation-config vllm {ON_CPU}"
)
TIMEOUT_S = 3600.0


@pytest.fixture(scope="module", autouse=True)
def installed() -> None:
    if not (VENV / "bin/python").exists():
        pytest.fail("vLLM is not installed: `make test-nightly` does that")


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
