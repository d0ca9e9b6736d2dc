"""A test that hangs ends, and says on what."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.faults import conftest
from tests.faults.loop import end_all, started

pytestmark = [pytest.mark.faults, pytest.mark.slow]


def hang(ready: str) -> None:
    Path(ready).touch()
    time.sleep(3600)


def test_a_test_that_hangs_is_ended_with_what_it_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its name, and where each process that it started stands; none of them is left."""
    process = started(hang, tmp_path / "log.txt", {}, str(tmp_path / "ready"))
    while not (tmp_path / "ready").exists():
        time.sleep(0.05)
    monkeypatch.setattr(conftest, "TICK_S", 0.2)
    monkeypatch.setattr(conftest, "DEADLINE_S", 0.001)
    with pytest.raises(conftest.HungError, match="the one that hangs") as hung, conftest.deadline("the one that hangs"):
        process.join()
    assert "in hang" in str(hung.value)
    end_all()
    assert process.exitcode == -9
