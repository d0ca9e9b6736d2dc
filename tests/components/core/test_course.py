"""What a step does at this moment, as its run's journal tells it to somebody elsewhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from components.core import course
from components.core.course import Course, read_courses, recorded
from components.core.errors import UserError
from components.core.progress import STEP_EVENTS, Progress, emit, say, warn
from components.core.step import step
from components.core.store import DirectoryStore
from components.training.launch.logs import Log

COUNT = "from components.core.progress import Progress; Progress('training', 9).advance(4)"


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nobody waits in tests; their runs are open."""
    for run in ("run", "defect", "ended"):
        DirectoryStore(str(tmp_path / "runs" / run)).write("context.json", b"{}")
    monkeypatch.setattr(course, "SECONDS_BETWEEN_READS", 0.02)
    monkeypatch.setattr(course, "SECONDS_BETWEEN_WRITES", 0.02)


def seen(root: Path, wanted: Callable[[Course], bool]) -> Course:
    """The one step's course once it is as wanted, or after 10 s as it is."""
    deadline = time.monotonic() + 10
    while True:
        courses = read_courses(str(root), "run")
        if (courses and wanted(courses[0])) or time.monotonic() > deadline:
            return courses[0]
        time.sleep(0.02)


def test_a_running_step_says_how_far_it_is(tmp_path: Path) -> None:
    with recorded(str(tmp_path), "run", "judge M1"), step("judge M1"):
        with Progress("judging", 64, done=4) as progress:
            say("the judge is the policy itself")
            progress.advance(56)
            running = seen(tmp_path, lambda one: one.count == 60)
        assert (running.state, running.label, running.total, running.first) == ("running", "judging", 64, 4)
        assert running.said == "the judge is the policy itself"
        assert running.text == "judge M1: judging 60/64", "after a moment nothing is known of what is left"
        assert seen(tmp_path, lambda one: not one.label).text == "judge M1"  # nothing is counted any more
    (ended,) = read_courses(str(tmp_path), "run")
    assert ended.text == "judge M1: done"
    assert STEP_EVENTS not in os.environ


def test_what_is_left_follows_from_the_rate() -> None:
    """After an earlier attempt's 20 and a wait for the server one every half a second: 39 in the 19.5 s after the
    first, so the 20 that are left of 80 take 10 s."""
    running = Course("judge M1", 0.0, 59.5).after(
        {"kind": "progress", "label": "judging", "done": 20, "total": 80, "time": 20.0}
    )
    for number in range(40):
        event = {"kind": "progress", "label": "judging", "done": 21 + number, "total": 80}
        running = running.after(event | {"time": 40.0 + number / 2})
    assert running.text == "judge M1: judging 60/80, 2/s, 10 s left"
    early = Course("judge M1", 0.0, 30.0, label="judging", count=20, total=80, counting_since=20.0, first=20)
    assert early.text.endswith("20/80")


def test_a_course_keeps_what_was_made_dropped_and_warned_of(tmp_path: Path) -> None:
    """And what another version has written beside is passed over."""
    with recorded(str(tmp_path), "run", "judge M1"), step("judge M1"):
        emit("stage_start", stage="m1/judging")
        warn("3 of 64 judgements have no score")
        emit("stage_end", stage="m1/judging", reused=False, kept={"judgements": 61}, dropped={"unparsed": 3})
    entry = json.loads((tmp_path / "runs/run/steps/judge-m1.json").read_text())
    course = Course.from_entry(entry | {"of_another_version": 1})
    assert [(made.name, made.reused, made.kept, made.dropped) for made in course.made] == [
        ("m1/judging", False, {"judgements": 61}, {"unparsed": 3})
    ]
    assert course.warnings == ("3 of 64 judgements have no score",)
    assert course == read_courses(str(tmp_path), "run")[0]


def test_processes_of_the_step_count_too(tmp_path: Path) -> None:
    """As torchrun's do."""
    with recorded(str(tmp_path), "run", "train M2"), step("train M2"):
        subprocess.run([sys.executable, "-c", COUNT], check=True)
        assert seen(tmp_path, lambda one: one.count == 4).text.startswith("train M2: training 4/9")


def test_a_pod_that_trains_elsewhere_counts_by_its_log(tmp_path: Path) -> None:
    """It knows nothing of the step; what it writes is what Progress writes where nobody takes events."""
    written = subprocess.run([sys.executable, "-c", COUNT], check=True, capture_output=True, text=True).stderr
    with recorded(str(tmp_path), "run", "train M2"), step("train M2"):
        Log().follow(["loading", *written.splitlines(), "training: 4/9, 0.41/s, 12 s left"], prefix="node-0: ")
        assert seen(tmp_path, lambda one: one.count == 4).total == 9


def test_a_failure_is_kept_with_its_remedy(tmp_path: Path) -> None:
    with pytest.raises(SystemExit), recorded(str(tmp_path), "run", "train M1"), step("train M1"):
        raise UserError("batch_size 64 does not divide into 64 on 2 devices", "Make it a multiple of 128.")
    (failed,) = read_courses(str(tmp_path), "run")
    assert failed.state == "failed"
    assert failed.text == "train M1: batch_size 64 does not divide into 64 on 2 devices. Make it a multiple of 128."


def test_a_defect_is_a_failure_and_an_end_from_outside_is_none(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), recorded(str(tmp_path), "defect", "train M1"), step("train M1"):
        _ = 1 / 0
    assert read_courses(str(tmp_path), "defect")[0].problem == "ZeroDivisionError: division by zero"
    with pytest.raises(SystemExit), recorded(str(tmp_path), "ended", "train M1"), step("train M1"):
        raise SystemExit(143)
    assert read_courses(str(tmp_path), "ended")[0].state == "stopped"


def test_a_run_that_was_refused_before_it_was_open_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(SystemExit), recorded(str(tmp_path), "refused", "open the run"), step("open the run"):
        raise UserError("the endpoint does not answer", "Start it.")
    assert not (tmp_path / "runs" / "refused").exists()


def test_a_store_that_takes_nothing_does_not_end_the_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise UserError("the disk is full", "Free some space.")

    monkeypatch.setattr(DirectoryStore, "write", refuse)
    with recorded(str(tmp_path), "run", "judge M1"), step("judge M1"):
        time.sleep(0.1)
    assert read_courses(str(tmp_path), "run") == []


def test_a_step_that_was_killed_is_silent() -> None:
    """Nothing is written any more; one that goes on writes at least every 30 s."""
    now = time.time()
    assert Course("judge M1", now - 900, now - 300).silent_s == pytest.approx(300, abs=5)
    assert Course("judge M1", now - 900, now - 20).silent_s == 0
    assert Course("judge M1", now - 900, now - 300, state="done").silent_s == 0


def test_steps_are_told_in_the_order_of_their_start(tmp_path: Path) -> None:
    for name in ("write prompts", "pair M1's answers"):
        with recorded(str(tmp_path), "run", name), step(name):
            time.sleep(0.01)
    assert [one.name for one in read_courses(str(tmp_path), "run")] == ["write prompts", "pair M1's answers"]
    assert sorted(path.name for path in (tmp_path / "runs/run/steps").iterdir()) == [
        "pair-m1-s-answers.json",
        "write-prompts.json",
    ]
