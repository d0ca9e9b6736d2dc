"""`srlm plan` as it is typed: for people, and for scripts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipelines.cli import plan
from pipelines.cli.main import app


def srlm(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["plan", *arguments])
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of a machine on which nothing was run yet."""
    monkeypatch.setenv("SRLM_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.delenv("SRLM_STORE", raising=False)
    return tmp_path / "home"


def test_a_script_reads_every_stage(home: Path) -> None:
    """Where nothing was run no server is started, and nothing is left behind."""
    told = json.loads(srlm("demo", "--json", "--set", "prompts.count=3", "--set", "rounds=1"))
    stages = {one["name"]: one for one in told["stages"]}
    assert stages["m1/sampling"]["work"]["asked"] == [{"what": "candidates", "number": 12, "longest": 64}]
    assert stages["m1/judging"]["key"] is None and stages["m1/judging"]["waits_for"] == "m1/sampling"
    assert not told["finished"] and told["total"]["estimate"] is None
    assert not home.exists()


def test_a_person_sees_what_is_left_and_how_each_estimate_comes_about(tmp_path: Path) -> None:
    said = srlm("llama3-8b", "--store", str(tmp_path), "--set", "cluster.gpu_hour_price=2.5", "--explain")
    assert "waits for m1/sft" in said and "up to 60,000" in said
    assert "m1/sampling: 105 s (53 s to 3 min) = 2,000,000 tokens read, 10,000,000 written" in said
    assert "GPU hours" in said and "price" in said
    assert "not in it: eft, 9 that ask and train no model" in said


def test_its_example_is_one_that_runs() -> None:
    example = (plan.plan.__doc__ or "").partition("Example: srlm plan ")[2].split()
    assert "27 of 27 stages" in srlm(*example)
