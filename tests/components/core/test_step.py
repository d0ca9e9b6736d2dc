"""What a step notes of its stage in the run's journal."""

from __future__ import annotations

import errno
import subprocess
import sys
import time
from pathlib import Path

import pytest

from components.core.course import FIRST_STEP, read_courses, recorded
from components.core.journal import CONTEXT, read_journal
from components.core.records import Counts, Manifest, Prompt
from components.core.stage import Stage, read_manifest
from components.core.step import report_errors, run_stage, step
from components.core.store import open_store
from components.sampling.settings import SamplingSettings


def make(root: str) -> Manifest:
    stage = Stage(root, "sampling", SamplingSettings(), {})
    prompts = [Prompt(id="a", text="a")]
    return stage.manifest or stage.publish(Counts(kept={"prompts": 1}), {"prompts": prompts}, metrics={"novelty": 0.5})


def make_elsewhere(root: str) -> Manifest:
    """As torchrun and TrainJobs do: in another process, whose manifest is read once it has ended."""
    subprocess.run(
        [sys.executable, "-c", f"from tests.components.core.test_step import make; make({root!r})"], check=True
    )
    return read_manifest(Stage(root, "sampling", SamplingSettings(), {}).uri)


def reused(root: str, run: str) -> list[bool]:
    return [entry["reused"] for entry in read_journal(root, run, "stages")]


@pytest.mark.parametrize("maker", [make, make_elsewhere])
def test_a_stage_is_reused_when_it_was_there_before_the_step(maker: object, tmp_path: Path) -> None:
    root = str(tmp_path)
    run_stage(root, "first", "m1/sampling", lambda: maker(root))  # type: ignore[operator]
    assert reused(root, "first") == [False]
    time.sleep(0.002)  # manifests have milliseconds
    run_stage(root, "second", "m1/sampling", lambda: make(root))
    assert reused(root, "second") == [True]


def test_the_journal_gets_what_was_made(tmp_path: Path) -> None:
    root = str(tmp_path)
    uri = run_stage(root, "run", "m1/sampling", lambda: make(root))
    (entry,) = read_journal(root, "run", "stages")
    assert (entry["name"], entry["uri"], entry["digest"]) == ("m1/sampling", uri, read_manifest(uri).digest)
    assert (entry["counts"]["kept"], entry["metrics"]) == ({"prompts": 1}, {"novelty": 0.5})


def test_what_a_lost_pod_had_finished_is_told_as_it_made_it(tmp_path: Path) -> None:
    """One pod samples, then it is lost; the next one finds the candidates. The journal knows one sampling, which
    this attempt made, and the course of its step; a new attempt, which opens the run again, finds it reused."""
    root = str(tmp_path)
    open_store(f"{root}/runs/run").write(CONTEXT, b"{}")

    def sample() -> tuple[bool, float]:
        with recorded(root, "run", "sample M1"), step("sample M1"):
            run_stage(root, "run", "m1/sampling", lambda: make(root))
        [course] = [one for one in read_courses(root, "run") if one.name == "sample M1"]
        assert course.state == "done"
        time.sleep(0.002)  # manifests have milliseconds
        return course.made[0].reused, course.started

    def open_run() -> None:
        with recorded(root, "run", FIRST_STEP), step(FIRST_STEP):
            pass

    open_run()
    first = sample()
    assert (sample(), first[0], reused(root, "run")) == (first, False, [False])
    open_run()
    again = sample()
    assert (again[0], reused(root, "run")) == (True, [True]) and again[1] > first[1]


def raised_again(error: Exception) -> Exception:
    try:
        raise ValueError("while it was written") from error
    except ValueError as again:
        return again


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device", "x"),
        raised_again(OSError(errno.EDQUOT, "Disk quota exceeded")),
        Exception("Error while serializing: I/O error: No space left on device (os error 28)"),  # safetensors
        RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 704 vs 598"),  # torch.save
        RuntimeError("basic_ios::clear: iostream error"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_full_disk_is_told_whichever_library_met_it(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    """A checkpoint's own writer raises no OSError: that was called a defect (issue 16)."""
    with pytest.raises(SystemExit), report_errors("train SFT"):
        raise error
    told = capsys.readouterr().err
    assert "cannot write" in told and "Free some space" in told


def test_other_errors_of_libraries_are_no_full_disk() -> None:
    with pytest.raises(RuntimeError), report_errors("train SFT"):
        raise RuntimeError("size mismatch")


@pytest.mark.parametrize(
    ("error", "problem", "remedy"),
    [
        (MemoryError(), "this process may take no more memory", "cluster.steps.memory_limit"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "this process may take no more memory", "run again"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to"), "no more memory", "run again"),
        (OSError(errno.EMFILE, "Too many open files"), "may open no more files", "ulimit -n"),
        (OSError(errno.ENOSPC, "No space left on device", "/x"), "cannot write /x", "Free some space"),
    ],
)
def test_what_a_machine_has_no_more_of_is_told_with_what_to_do(
    error: Exception, problem: str, remedy: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is no defect of this code (issue 16)."""
    with pytest.raises(SystemExit) as ended, report_errors("judge M1"):
        raise error
    told = capsys.readouterr().err
    assert ended.value.code == 2 and told.startswith("error in judge M1: ")
    assert problem in told and remedy in told
