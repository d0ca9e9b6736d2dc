"""What stages need of memory for many records: they hold all of theirs, and say so where a process may take no more."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import pytest

from components.core.records import Candidate, Counts, Judgement, Parent
from components.core.settings import Settings
from components.core.stage import Stage, read_manifest
from components.core.step import run_stage
from components.core.store import open_store
from components.judging import judging
from components.judging.settings import JudgingSettings
from components.pairs.pairs import make_pairs
from components.pairs.settings import PairsSettings
from tests.faults.loop import started

pytestmark = [pytest.mark.faults, pytest.mark.slow]
PROMPTS, CANDIDATES, SAMPLES, TEXT = 1_000, 4, 10, 1_000  # 40,000 judgements, with texts of 1,000 characters
DEADLINE_S, MEGABYTE = 200.0, 2**20
SMALL = 30 * MEGABYTE
LIMIT = 2 * 2**30
ROOM_PER_RECORD = 10_000  # bytes; judging took 6,400 a judgement, pairing 1,700


def sampled(root: str) -> str:
    """A finished sampling stage."""
    stage = Stage(root, "sampling", Settings(), {"model": Parent(uri="x", digest="d")})
    candidates = [
        Candidate(
            id=f"p{p}/{c}", prompt_id=f"p{p}", prompt=f"Describe {p}.", text=f"{p} {c} ".ljust(TEXT, "a"),
            finish_reason="stop", seed=c, tokens=200,
        )
        for p in range(PROMPTS) for c in range(CANDIDATES)
    ]  # fmt: skip
    stage.publish(Counts(kept={"candidates": len(candidates)}), {"candidates": candidates})
    return stage.uri


def judged(root: str, candidates: str) -> str:
    """The judging stage of these, whose judgements were made by an earlier attempt."""
    settings = JudgingSettings(samples=SAMPLES)
    inputs = {"candidates": judging.parent(candidates), "judge": judging.parent(candidates)}
    stage = Stage(root, "judging", settings, inputs)
    made = (
        Judgement(
            id=f"p{p}/{c}/{k}", prompt_id=f"p{p}", candidate_id=f"p{p}/{c}", completion="b" * TEXT + "\nScore: 3",
            finish_reason="stop", score=float(c), unparsed=None, judge_prompt=settings.judge_prompt().sha256, seed=k,
            tokens=200,
        )
        for p in range(PROMPTS) for c in range(CANDIDATES) for k in range(SAMPLES)
    )  # fmt: skip
    while some := list(islice(made, 10_000)):
        stage.save_progress("judgements", some)
    return stage.uri


def _prepare(root: str) -> None:
    judged(root, sampled(root))


def _judge(root: str, limit: int) -> None:
    _measured(limit, lambda: judging.judge_candidates(
        root, JudgingSettings(samples=SAMPLES), _uri(root, "sampling"), _uri(root, "sampling"), ""
    ), root)  # fmt: skip


def _pair(root: str, limit: int) -> None:
    _measured(limit, lambda: make_pairs(root, PairsSettings(), _uri(root, "sampling"), _uri(root, "judging")), root)


def _uri(root: str, stage: str) -> str:
    return str(next(Path(root, stage).iterdir()))


def _measured(limit: int, make: Callable[[], object], root: str) -> None:
    """The stage, in a process that may take `limit` bytes more than it has; prints how many it took."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (used + limit, used + limit))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    run_stage(root, "run", "m1/stage", make)  # type: ignore[arg-type]
    print("peak:", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, flush=True)


def ran(work: Callable[..., None], log: Path, *arguments: object) -> tuple[int, str]:
    process = started(work, log, {}, *arguments)
    process.join(DEADLINE_S)
    process.kill()
    return process.exitcode or 0, log.read_text()


def test_stages_of_many_records_and_what_is_said_where_memory_ends(tmp_path: Path, note: Callable[..., None]) -> None:
    """Judging and pairing under 2 GB. Where 30 MB are left the step ends, by itself or by pydantic's allocator (Rust
    has no exception for it); nothing is there by half, and the next try with more comes to its end."""
    root, records = str(tmp_path / "store"), PROMPTS * CANDIDATES * SAMPLES
    assert ran(_prepare, tmp_path / "made", root)[0] == 0, (tmp_path / "made").read_text()
    for work, stage in ((_judge, "judging"), (_pair, "pairs")):
        if work is _judge:  # pairing finds enough in what its process has
            code, log = ran(work, tmp_path / "refused", root, SMALL)
            told = {2: "this process may take no more memory", -signal.SIGABRT: "memory allocation of"}
            assert code in told and told[code] in log, log[-2000:]
            assert not [name for name in open_store(root).names("judging/") if name.endswith("manifest.json")]
        code, log = ran(work, tmp_path / stage, root, LIMIT)
        assert code == 0, log[-2000:]
        peak = 1024 * int(log.rpartition("peak:")[2])
        note(
            f"{stage}: {records:,} judgements, 2 GB of memory ({peak // MEGABYTE} MB)",
            survived=1,
            refused=int(work is _judge),
        )
        assert peak < ROOM_PER_RECORD * records
    assert read_manifest(_uri(root, "judging")).files
