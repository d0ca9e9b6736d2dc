"""What the version before this one has left in a store is read by this one.

`store.tar.xz` is the store of a tiny run (tests/faults/world.py) as it was made on 2026-11-26, without its weights.
"""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest

from components.core import records
from components.core.context import RunState, read_context
from components.core.course import read_courses
from components.core.errors import UserError
from components.core.journal import read_journal, write_journal
from components.core.records import Record
from components.core.stage import read_manifest, read_records
from components.core.store import open_store
from components.run.report import summary_of

KINDS: dict[str, type[Record]] = {
    "prompts": records.Prompt, "candidates": records.Candidate, "judgements": records.Judgement, "pairs": records.Pair,
    "eft": records.Example, "checks": records.Check, "observations": records.Observation,
    "curve": records.CurvePoint,
}  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> Path:
    with tarfile.open(Path(__file__).with_name("store.tar.xz")) as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path / "store"


def test_its_run_is_read_whole(store: Path) -> None:
    """Journal, manifests and records: the summary comes to what it was."""
    before = json.loads((store / "runs/tiny/summary.json").read_text())
    assert summary_of(str(store), "tiny") == before | {"ledger": {}}  # that release kept none
    assert len(read_courses(str(store), "tiny")) > 10
    assert read_context(f"{store}/runs/tiny").run == "tiny"
    assert all(RunState.from_dict(state).model for state in read_journal(str(store), "tiny", "states"))
    read = set()
    for path in store.glob("*/*/manifest.json"):
        manifest = read_manifest(str(path.parent))
        for name, file in manifest.files.items():
            kind = name.rpartition("-")[0]
            if file.records is not None and kind in KINDS and manifest.stage != "seed_data":
                assert len(read_records(str(path.parent), kind, KINDS[kind])) == file.records
                read.add(kind)
    assert read == KINDS.keys()


def test_what_a_newer_version_wrote_of_a_run_is_told(store: Path) -> None:
    uri, root = f"{store}/runs/tiny", str(store)
    state = read_journal(root, "tiny", "states")[0]
    with pytest.raises(UserError, match="the run's state was written by a newer version of this code: mood"):
        RunState.from_dict({**state, "mood": "good"})
    step = json.loads(next((store / "runs/tiny/steps").iterdir()).read_text())
    write_journal(root, "tiny", "steps", "newer", {**step, "name": "newer", "mood": "good"})
    assert "newer" in [course.name for course in read_courses(root, "tiny")]
    context = json.loads(open_store(uri).read("context.json") or b"{}")
    open_store(uri).write("context.json", json.dumps({**context, "mood": "good"}).encode())
    with pytest.raises(UserError, match="context.json was written by a newer version of this code: mood"):
        read_context(uri)
