"""A model of 5,000 small files, with 256 file descriptors: published, listed, fetched, checked and collected in a time
that grows with their number, and told while it goes on."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from components.core.errors import UserError
from components.core.model_files import check_files, model_folder
from components.core.records import Counts, Parent
from components.core.settings import Settings
from components.core.stage import Stage, read_manifest
from components.core.store import open_store
from components.run.garbage import Rules, carry_out, plan
from tests.faults.loop import started

pytestmark = [pytest.mark.faults, pytest.mark.slow]
FEW, MANY, LONGEST_S = 500, 5000, 240.0


def use(root: str, number: int, scratch: str) -> float:
    """Seconds for all that is done to a model of so many files."""
    folder = Path(scratch) / f"{number}"
    for name in range(number):
        path = folder / f"part-{name % 50}" / f"{name:05}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{number} {name}")
    begin = time.monotonic()
    stage = Stage(root, "sft", Settings(), {"data": Parent(uri="x", digest=f"{number}")})
    stage.publish(Counts(), {}, folder)
    assert len(read_manifest(stage.uri).files) == number
    assert len(open_store(root).objects()) >= number
    for _ in range(2):
        assert len([path for path in model_folder(stage.uri).rglob("*") if path.is_file()]) == number
    check_files(stage.uri)
    changed = model_folder(stage.uri) / "part-7" / "00007.json"
    changed.write_text("else")
    with pytest.raises(UserError, match="00007.json does not have the content"):
        check_files(stage.uri)
    in_a_year = Rules(timedelta(days=1), forgotten=["all"], now=datetime.now(UTC) + timedelta(days=365))
    judged = plan(root, list, in_a_year)
    assert sum(len(part.objects) for part in carry_out(root, judged)) >= number
    assert not Path(stage.uri, "manifest.json").exists()
    return time.monotonic() - begin


def _use_both(root: str, scratch: str) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
    print("seconds:", use(root, FEW, scratch), use(root, MANY, scratch), flush=True)


def test_a_model_of_5000_files_with_256_file_descriptors(tmp_path: Path, note: Callable[..., None]) -> None:
    process = started(
        _use_both, tmp_path / "log", {"SRLM_HOME": str(tmp_path / "home")}, str(tmp_path / "store"), str(tmp_path)
    )
    process.join(LONGEST_S)
    log = (tmp_path / "log").read_text()
    process.kill()
    assert process.exitcode == 0, log[-2000:]
    few, many = (float(one) for one in log.rpartition("seconds:")[2].split())
    note(f"a model of {MANY:,} files, 256 file descriptors", survived=1)
    assert many < 3 * few * MANY / FEW  # the square of their number would be ten times the line
    assert "storing sft (MB): " in log and "checking files (MB): " in log
