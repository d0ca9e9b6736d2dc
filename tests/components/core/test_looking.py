"""Who only looks at a run's stages makes none and marks none."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from components.core.claims import USED
from components.core.looking import UnmadeStageError, looking, only_looking
from components.core.records import Counts, Manifest, Prompt
from components.core.stage import MANIFEST, Stage, UnfinishedStageError, parent
from components.core.store import open_store
from components.sampling.settings import SamplingSettings


def stage(root: Path) -> Stage:
    return Stage(str(root), "sampling", SamplingSettings(), {})


def test_a_stage_that_is_not_finished_is_not_made(tmp_path: Path) -> None:
    with only_looking(), pytest.raises(UnmadeStageError) as wanted:
        stage(tmp_path)
    assert list(tmp_path.iterdir()) == [] and not looking()
    assert wanted.value.stage.key == stage(tmp_path).key  # whoever makes it has the same


def test_a_finished_one_is_found_and_not_marked_as_used(tmp_path: Path) -> None:
    """Nor is one that gc might take, whose mark would keep it."""
    made = stage(tmp_path).publish(Counts(kept={"candidates": 1}), {"candidates": [Prompt(id="a", text="a")]})
    store = open_store(stage(tmp_path).uri)
    old = made.model_copy(update={"created": (datetime.now(UTC) - timedelta(days=9)).isoformat()})
    store.write(MANIFEST, Manifest.model_dump_json(old).encode())
    store.delete(USED)
    with only_looking():
        assert stage(tmp_path).manifest == old
        assert parent(store.uri).digest == made.digest
    assert store.read(USED) is None


def test_what_another_stage_needs_is_named(tmp_path: Path) -> None:
    with only_looking(), pytest.raises(UnfinishedStageError) as missing:
        parent(f"{tmp_path}/sft/0123456789abcdef")
    assert missing.value.uri.endswith("/sft/0123456789abcdef")
