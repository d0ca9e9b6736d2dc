"""A step that waits says so."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from components.core.progress import STEP_EVENTS, emit
from components.core.silence import never_silent


def waiting_library() -> Any:
    """A function of ours in which a library waits."""
    module: dict[str, Any] = {"__name__": "components.waiting"}
    exec("import time\ndef ask(seconds): time.sleep(seconds)", module)
    return module["ask"]


def test_a_wait_is_told_again_and_again_with_its_place(capsys: pytest.CaptureFixture[str]) -> None:
    """One second without a word, told every 0.3 s: at least twice, whatever the machine does beside it."""
    with never_silent(0.3):
        waiting_library()(1.0)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) >= 2
    assert all(line.startswith("nothing new for") and line.endswith("at components.waiting.ask") for line in lines)


def test_who_says_something_is_left_alone(capsys: pytest.CaptureFixture[str]) -> None:
    with never_silent(5.0):
        for _ in range(20):
            emit("progress", label="it", done=1, total=2)
            time.sleep(0.05)
    assert capsys.readouterr().err == ""


def test_a_process_that_the_step_has_started_speaks_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(STEP_EVENTS, str(tmp_path / "events"))
    with never_silent(2.0):
        for number in range(30):
            (tmp_path / "events").write_text(str(number))
            time.sleep(0.1)
    assert capsys.readouterr().err == ""


def test_a_clock_that_is_set_back_makes_no_silence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By an hour: the next word would have come after an hour."""
    real, shift = time.time, [0.0]
    monkeypatch.setattr(time, "time", lambda: real() + shift[0])
    with never_silent(0.3):
        emit("progress", label="it", done=1, total=2)
        shift[0] = -3600.0
        waiting_library()(1.0)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) >= 2
    assert all(line.startswith(("nothing new for 0 s", "nothing new for 1 s")) for line in lines)
