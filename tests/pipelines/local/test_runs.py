"""status, logs and cancel of runs on this machine."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from components.core.errors import UserError
from components.core.processes import alive, end
from pipelines.cli.runs import commands
from pipelines.local.runs import LocalRuns, held
from tests.helpers.waiting import wait_until

RUN = "toy-20260101-000000-abcd"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the run RUN, in a home of its own."""
    monkeypatch.setenv("SRLM_HOME", str(tmp_path))
    made = tmp_path / "runs" / RUN
    made.mkdir(parents=True)
    (made / "pipeline.yaml").write_text("")
    return made


def tell(folder: Path, *events: dict[str, Any]) -> None:
    with (folder / "events.jsonl").open("a") as file:
        file.writelines(json.dumps({"time": 0.0, **event}) + "\n" for event in events)


def test_a_local_run_is_stopped_failed_or_finished_by_what_it_left(folder: Path) -> None:
    tell(folder, {"kind": "step_start", "step": "m1/judging"})
    tell(folder, {"kind": "progress", "label": "judged", "done": 3, "total": 8})
    [stopped] = LocalRuns().find(RUN)
    assert (stopped.state, stopped.step) == ("stopped", "m1/judging: judged 3/8")
    tell(folder, {"kind": "error", "step": "m1/judging", "problem": "no judge", "remedy": "Start one.", "trace": ""})
    [failed] = LocalRuns().find(RUN)
    assert failed.state == "failed" and "m1/judging: no judge. Start one." in LocalRuns().details(failed)
    (folder / "summary.json").write_text("{}")
    assert LocalRuns().find(RUN)[0].state == "finished", "an error that a later attempt got over is history"


def test_an_event_that_is_half_written_is_left_for_the_next_time(folder: Path) -> None:
    tell(folder, {"kind": "step_start", "step": "sft"})
    with (folder / "events.jsonl").open("a") as file:
        file.write('{"kind": "step_e')
    assert LocalRuns().find(RUN)[0].step == "sft"


@pytest.mark.parametrize("name", ["..", ".", "", "../runs", "nosuch"])
def test_a_name_that_is_no_run_finds_no_folder(folder: Path, name: str) -> None:
    assert LocalRuns().find(name) == []


def start_owner(folder: Path, seconds: int) -> subprocess.Popen[bytes]:
    """A process like `srlm run`, whose child looks like the process that executes the run and ends with it."""
    child = "import os, sys, time\nparent = os.getppid()\nwhile os.getppid() == parent: time.sleep(0.1)"
    command = ["-c", child, "pipelines.local.execute", str(folder / "pipeline.yaml")]
    owner = f"""
        import subprocess, sys, time
        subprocess.Popen([sys.executable, *{command!r}])
        time.sleep({seconds})
    """
    return subprocess.Popen([sys.executable, "-c", textwrap.dedent(owner)])


def test_a_local_run_is_found_by_its_process_and_cancelled_once(folder: Path) -> None:
    owner = start_owner(folder, 300)
    try:
        wait_until(lambda: LocalRuns().find(RUN)[0].state == "running")
        shown = CliRunner().invoke(commands, ["cancel", RUN]).stdout
        assert f"ended the process {owner.pid}" in shown
        assert not alive(owner.pid)
        assert LocalRuns().cancel(LocalRuns().find(RUN)[0]) == [], "there is nothing left to end"
    finally:
        end(owner.pid)


def test_another_home_s_run_of_the_same_name_is_not_this_one(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / "runs" / RUN
    other.mkdir(parents=True)
    owner = start_owner(other, 300)
    try:
        time.sleep(1)
        assert LocalRuns().find(RUN)[0].state == "stopped"
    finally:
        end(owner.pid)


def test_a_log_that_is_followed_ends_with_its_run(folder: Path) -> None:
    (folder / "log.txt").write_text("first\n")
    owner = start_owner(folder, 3)
    try:
        wait_until(lambda: LocalRuns().find(RUN)[0].state == "running")
        lines = LocalRuns().log(LocalRuns().find(RUN)[0], follow=True)
        assert next(lines) == "first"
        with (folder / "log.txt").open("a") as file:
            file.write("second\n")
        assert list(lines) == ["second"]
    finally:
        end(owner.pid)


def test_a_run_goes_on_from_its_start_to_its_end(folder: Path, tmp_path: Path) -> None:
    """Before the process that executes it there are servers to start; who is refused leaves nothing."""
    with held(RUN):
        assert LocalRuns().find(RUN)[0].state == "running"
    assert LocalRuns().find(RUN)[0].state == "stopped"
    with pytest.raises(UserError), held("refused"):
        raise UserError("there is no recipe", "Name one.")
    assert not (tmp_path / "runs" / "refused").exists()
