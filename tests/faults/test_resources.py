"""Too little disk, too few file descriptors, records that are large, or a million of them."""

from __future__ import annotations

import os
import resource
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from components.core.records import Counts, Judgement, Parent, Prompt
from components.core.settings import Settings
from components.core.stage import Stage, read_records
from components.serving.completions import Batch, complete
from tests.faults.loop import Place, started
from tests.faults.test_bad_engines import candidate
from tests.faults.world import begin, leftovers, longest_silence, place, result
from tests.helpers.scripted_endpoint import says, served
from tests.helpers.tiny_model import make_tiny_model

pytestmark = [pytest.mark.faults, pytest.mark.slow]
Note = Callable[..., None]
FIRST_KB, MORE_KB = 256, 400
GIGABYTE = 1024**3
INPUT = {"model": Parent(uri="x", digest="d")}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={FIRST_KB}k", "tmpfs", disk], check=False).returncode:
        pytest.skip("no file system may be mounted here")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


def test_a_disk_that_is_full_in_every_stage(small_disk: Path, tmp_path: Path, mlflow_server: str, note: Note) -> None:
    """Store and scratch on a disk that grows by little after each refusal, until the run comes to its end: as one does
    that had room."""
    model, refused = make_tiny_model(tmp_path / "model"), 0
    with place(tmp_path / "roomy", model, mlflow_server) as where:
        assert ended(where) == 0
        expected = result(where)
    with place(small_disk / "w", model, mlflow_server) as where:
        while (code := ended(where)) == 2:
            refused += 1
            size = f"remount,size={FIRST_KB + MORE_KB * refused}k"
            subprocess.run(["mount", "-o", size, "tmpfs", small_disk], check=True)
        log = (small_disk / "w" / "log.txt").read_text()
        note(
            "a disk that is full, at every 400 kB of a run",
            survived=int(code == 0), refused=refused, lost=int(code != 0), silence=longest_silence(where),
        )  # fmt: skip
        assert code == 0, log[-3000:]
        assert refused > 3 and log.count("Free some space") >= refused - 1
        assert result(where) == expected and leftovers(where) == []


def ended(where: Place) -> int:
    process = begin(where)
    process.join()
    return process.exitcode or 0


def test_a_thousand_requests_in_flight_with_256_file_descriptors(tmp_path: Path, note: Note) -> None:
    """Those that get no connection are asked again, as of a server that is busy."""
    with served(says(lambda prompt: prompt)) as url:
        process = started(_ask_a_thousand, tmp_path / "log", {}, str(tmp_path / "store"), url)
        process.join(240)
    log = (tmp_path / "log").read_text()
    note(
        "1,000 requests in flight, 256 file descriptors",
        survived=int(process.exitcode == 0),
        lost=int(bool(process.exitcode)),
    )
    assert process.exitcode == 0, log[-2000:]


def _ask_a_thousand(root: str, url: str) -> None:
    from components.core.records import Candidate
    from components.sampling.settings import SamplingSettings
    from components.serving.client import Request, Sampling

    resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
    stage = Stage(root, "sampling", SamplingSettings(), INPUT)
    requests = [Request(f"{n}", [{"role": "user", "content": f"{n}"}], Sampling(1.0, 1.0, 16), n) for n in range(1000)]
    made = complete(stage, url, Batch("candidates", Candidate, requests, candidate, 1000))
    assert [one.text for one in made] == [f"{n}" for n in range(1000)]


def test_a_record_of_10_megabytes(tmp_path: Path, note: Note) -> None:
    stage = Stage(str(tmp_path), "prompts", Settings(), INPUT)
    large = [Prompt(id="a", text="ä" * 5_000_000), Prompt(id="b", text="\n" * 10_000_000)]
    stage.save_progress("prompts", large)
    assert list(stage.load_progress("prompts", Prompt).values()) == large
    stage.publish(Counts(), {"prompts": large})
    note("a record of 10 MB", survived=2, lost=int(read_records(stage.uri, "prompts", Prompt) != large))
    assert read_records(stage.uri, "prompts", Prompt) == large


def test_a_million_records_in_2_gigabytes(tmp_path: Path, note: Note) -> None:
    """A stage that publishes a million judgements, and one that reads them."""
    start = time.monotonic()
    for number, work in enumerate((_publish_a_million, _read_a_million)):
        process = started(work, tmp_path / f"log-{number}", {}, str(tmp_path / "store"))
        process.join(300)
        log = (tmp_path / f"log-{number}").read_text()
        assert process.exitcode == 0, log[-2000:]
    note("a million records, 2 GB of memory", survived=2, silence=time.monotonic() - start)


def _judgement(number: int) -> Judgement:
    return Judgement(
        id=f"p{number // 32}/c{number // 8}/{number % 8}", prompt_id=f"p{number // 32}", candidate_id=f"c{number // 8}",
        completion="It is relevant.\nScore: 3", finish_reason="stop", score=3.0, unparsed=None, judge_prompt="0" * 64,
        seed=number, tokens=9,
    )  # fmt: skip


def _limited() -> None:
    """What the forked process has reserved already (torch's libraries) does not count: it holds no memory."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (used + 2 * GIGABYTE, used + 2 * GIGABYTE))


def _publish_a_million(root: str) -> None:
    _limited()
    stage = Stage(root, "judging", Settings(), INPUT)
    stage.publish(Counts(), {"judgements": [_judgement(number) for number in range(1_000_000)]})


def _read_a_million(root: str) -> None:
    _limited()
    uri = Stage(root, "judging", Settings(), INPUT).uri
    assert len(read_records(uri, "judgements", Judgement)) == 1_000_000
    print("peak, kB:", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
