"""What is said of a local run whose process ended without a word."""

from __future__ import annotations

from pathlib import Path

from components.core.course import Course
from components.core.processes import killed_for_memory
from pipelines.local.run import _failure


def test_a_step_that_was_killed_is_named_with_what_may_have_killed_it() -> None:
    """As the kernel does where memory is short: nobody hears of it but its own log (issue 16)."""
    courses = [Course("prepare", 1.0, 2.0, "done"), Course("train M1", 2.0, 3.0, "stopped")]
    told = str(_failure(None, courses, Path("/runs/tiny"), debug=False))
    assert "ended before its time, in: train M1" in told and "prepare" not in told
    assert "too little memory" in told and "/runs/tiny/log.txt" in told and "dmesg" in told
    assert "dpo.micro_batch_size" in told and "the kernel has ended" not in told


def test_what_the_kernel_has_killed_is_told() -> None:
    """Of the step itself, and of its server, which the step can only say is gone."""
    judging, gone = Course("judge M1", 2.0, 3.0, "stopped"), "the endpoint did not answer"
    told = str(_failure(None, [judging], Path("/runs/tiny"), debug=False, for_memory=1))
    assert "judge M1; that step was killed: the kernel has ended a process" in told and "serving.max_batch" in told
    error = {"step": "judge M1", "problem": gone, "remedy": "Run again.", "trace": ""}
    told = str(_failure(error, [judging], Path("/runs/tiny"), debug=False, for_memory=1))
    assert gone in told and "the kernel has ended a process" in told


def test_the_kernel_s_count_is_read_where_there_is_one() -> None:
    lines = dict(line.split() for line in Path("/proc/vmstat").read_text().splitlines())
    assert killed_for_memory() == int(lines.get("oom_kill", 0))
