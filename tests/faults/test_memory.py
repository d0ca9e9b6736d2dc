"""What stages need of memory does not grow with the number of their records; and what is said where memory ends."""

from __future__ import annotations

import os
import resource
import signal
import time
from collections.abc import Callable
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from types import SimpleNamespace

import pytest

from components.core.errors import UserError
from components.core.records import Candidate, Counts, Manifest, Parent, Prompt
from components.core.settings import Settings
from components.core.stage import Stage
from components.core.step import run_stage
from components.core.store import open_store
from components.judging.judging import judge_candidates
from components.judging.settings import JudgingSettings
from components.pairs.pairs import make_pairs
from components.pairs.settings import PairsSettings
from components.sampling.sampling import sample_candidates
from components.sampling.settings import SamplingSettings
from components.serving import completions
from components.serving.address import Address
from components.serving.client import Completion, Request
from components.serving.patience import Circuit
from tests.faults.loop import kill, started
from tests.faults.world import begin, leftovers, place, result
from tests.helpers.tiny_model import make_tiny_model

pytestmark = [pytest.mark.faults, pytest.mark.slow]
CANDIDATES, SAMPLES, TEXT = 4, 10, 1_000  # of a prompt; of a candidate; characters of each text
FEW, MANY = 2_000, 40_000  # records of a stage
DEADLINE_S, MEGABYTE = 200.0, 2**20
LIMIT, MORE = 2 * 2**30, 24 * MEGABYTE
MODEL = {"model": Parent(uri="x", digest="d")}


class _Client:
    """A server that answers at once, so many times."""

    left = 0

    def __init__(self, *_: object, **__: object) -> None:
        self.circuit, self.open, self.replicas = Circuit(), 0, SimpleNamespace(ahead=0, limit=1024)

    async def complete(self, request: Request) -> Completion:
        if not _Client.left:
            raise UserError("the server broke off", "Run again.")
        _Client.left -= 1
        number = request.seed % 5
        return Completion(f"{request.id} ".ljust(TEXT, "a") + f"\nScore: {number}", "stop", 200)

    async def close(self) -> None: ...


def write_prompts(root: str, number: int) -> None:
    """A finished stage of prompts."""
    stage = Stage(root, "prompts", Settings(), MODEL)
    made = [Prompt(id=f"p{n}", text=f"Describe {n}.") for n in range(number)]
    stage.publish(Counts(kept={"prompts": number}), {"prompts": made})


def _uri(root: str, stage: str) -> str:
    return str(next(Path(root, stage).iterdir()))


def _sample(root: str) -> Manifest:
    given = _uri(root, "prompts")
    return sample_candidates(root, SamplingSettings(candidates=CANDIDATES, max_tokens=300), given, given, "x")


def _judge(root: str) -> Manifest:
    given = _uri(root, "sampling")
    return judge_candidates(root, JudgingSettings(samples=SAMPLES), given, given, "x")


def _pair(root: str) -> Manifest:
    return make_pairs(root, PairsSettings(), _uri(root, "sampling"), _uri(root, "judging"))


def _work(make: Callable[[str], Manifest], root: str, limit: int, answers: int) -> None:
    """The stage, in a process that may take `limit` bytes more than it has; prints how many it took."""
    completions.Client, _Client.left = _Client, answers  # type: ignore[misc, assignment]
    completions.endpoint_address = lambda endpoint: Address("http://x")
    used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (used + limit, used + limit))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        run_stage(root, "run", "m1/stage", lambda: make(root))
    finally:
        print("peak:", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, flush=True)


def made(make: Callable[[str], Manifest], root: Path, answers: int = -1, code: int = 0) -> int:
    """How many bytes it took."""
    log = root.with_name(f"{root.name}-{make.__name__}-{answers}")
    process = started(_work, log, {}, make, str(root), LIMIT, answers)
    process.join(DEADLINE_S)
    process.kill()
    said = log.read_text()
    assert process.exitcode == code, said[-2000:]
    return 1024 * int(said.rpartition("peak:")[2])


def test_memory_does_not_grow_with_the_records(tmp_path: Path, note: Callable[..., None]) -> None:
    """Sampling, judging (which breaks off half way, and goes on) and pairing, of 2,000 and of 40,000 records of 1,000
    characters: 38,000 more would take 38 MB if their texts alone were held, once. Half of that has room for what is
    read or written in one piece (8 MB), and for the figures of 950 prompts more."""
    peaks: dict[str, list[int]] = {}
    for records in (FEW, MANY):
        sampling, judging = tmp_path / f"sampling-{records}", tmp_path / f"judging-{records}"
        write_prompts(str(sampling), records // CANDIDATES)
        write_prompts(str(judging), records // CANDIDATES // SAMPLES)
        made(_sample, judging)
        peaks.setdefault("sampling", []).append(made(_sample, sampling))
        peaks.setdefault("judging", []).append(made(_judge, judging, answers=records // 2, code=2))
        peaks.setdefault("judging, again", []).append(made(_judge, judging, answers=records // 2))
        peaks.setdefault("pairing", []).append(made(_pair, judging))
    for stage, (few, many) in peaks.items():
        note(f"{stage}: {MANY:,} records ({few // MEGABYTE} MB for {FEW:,}, {many // MEGABYTE} MB)", survived=1)
        assert many - few < (MANY - FEW) * TEXT / 2, (stage, few, many)


def test_a_step_that_the_kernel_kills_for_memory(tmp_path: Path, mlflow_server: str, note: Callable[..., None]) -> None:
    """A tiny run that is killed as soon as it holds more than it may, which is a bit more each time, until it comes to
    its end: that of one that had room."""
    model, killed = make_tiny_model(tmp_path / "model"), 0
    with place(tmp_path / "roomy", model, mlflow_server) as where:
        process = begin(where)
        process.join()
        assert process.exitcode == 0
        expected = result(where)
    with place(tmp_path / "narrow", model, mlflow_server) as where:
        while (code := _ended_or_killed(begin(where), killed * MORE)) == -signal.SIGKILL:
            killed += 1
        note("too little memory: killed as the kernel does, 24 MB more each time", survived=killed + (not code))
        assert code == 0 and killed > 3, (tmp_path / "narrow" / "log.txt").read_text()[-3000:]
        assert result(where) == expected and leftovers(where) == []


def _ended_or_killed(process: ForkServerProcess, limit: int) -> int | None:
    """Killed when it holds `limit` bytes more than it began with; else its exit code."""
    status, page = Path(f"/proc/{process.pid}/statm"), os.sysconf("SC_PAGE_SIZE")
    began = int(status.read_text().split()[1]) * page
    while process.exitcode is None:
        if int(status.read_text().split()[1]) * page > began + limit:
            kill(process)
        time.sleep(0.01)
    return process.exitcode


def test_where_a_process_may_take_no_more_it_is_told(tmp_path: Path, note: Callable[..., None]) -> None:
    """Judging of texts of 30 MB ends by itself, or by pydantic's allocator (Rust has no exception for it); nothing is
    there by half."""
    root, given = tmp_path / "store", {"prompt_id": "p", "prompt": "?", "finish_reason": "stop", "seed": 0, "tokens": 1}
    long = [Candidate(id=f"p/{n}", text="a" * 30_000_000, **given) for n in range(2)]
    Stage(str(root), "sampling", Settings(), MODEL).publish(Counts(), {"candidates": long})
    process = started(_work, tmp_path / "log", {}, _judge, str(root), 0, -1)
    process.join(DEADLINE_S)
    told = {2: "this process may take no more memory", -signal.SIGABRT: "memory allocation of"}
    said = (tmp_path / "log").read_text()
    assert process.exitcode in told and told[process.exitcode] in said, said[-2000:]
    note("judging where a process may take no more memory", refused=1)
    assert not [name for name in open_store(str(root)).names("judging/") if name.endswith("manifest.json")]
