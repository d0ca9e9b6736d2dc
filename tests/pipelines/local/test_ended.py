"""What is said of a local run whose process ended without a word."""

from __future__ import annotations

from pathlib import Path

from components.core.course import Course
from pipelines.local.run import _failure


def test_a_step_that_was_killed_is_named_with_what_may_have_killed_it() -> None:
    """As the kernel does where memory is short: nobody hears of it but its own log (issue 16)."""
    courses = [Course("prepare", 1.0, 2.0, "done"), Course("train M1", 2.0, 3.0, "stopped")]
    told = str(_failure(None, courses, Path("/runs/tiny"), debug=False))
    assert "ended before its time, in: train M1" in told and "prepare" not in told
    assert "too little memory" in told and "/runs/tiny/log.txt" in told and "dmesg" in told
