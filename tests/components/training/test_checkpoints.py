"""Checkpoints: the newest ones in the store, none left on the node's disk."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import TrainerControl, TrainerState, TrainingArguments

from components.core.stage import Stage
from components.training.checkpoints import CHECKPOINTS, CheckpointUploader, fetch_checkpoint, fetch_latest_checkpoint
from components.training.sft.settings import SftSettings

STEPS = (5, 10, 15)


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(str(tmp_path / "store"), "sft", SftSettings(), {})


def save(uploader: CheckpointUploader, folder: Path, step: int) -> None:
    """As the trainer does it: the files, then the callback."""
    checkpoint = folder / f"checkpoint-{step}" / "optimizer_0"
    checkpoint.mkdir(parents=True)
    (checkpoint / "__0_0.distcp").write_text(f"shard of step {step}")
    uploader.on_save(TrainingArguments(output_dir=str(folder)), TrainerState(global_step=step), TrainerControl())


def test_the_disk_never_holds_two_and_the_store_holds_the_newest(stage: Stage, tmp_path: Path) -> None:
    """A checkpoint of 70B has 840 GB: before the next is written, the last is gone from the node's disk."""
    uploader, folder = CheckpointUploader(stage, kept=2), tmp_path / "training"
    for step in STEPS:
        save(uploader, folder, step)
        assert list(folder.iterdir()) == []
    names = stage.store.names(f"{CHECKPOINTS}/")
    assert sorted(name.rpartition("/")[2] for name in names if name.endswith(".json")) == [
        "checkpoint-10.json",
        "checkpoint-15.json",
    ]
    assert not any("checkpoint-5/" in name for name in names)


def test_what_is_not_on_the_disk_comes_from_the_store(stage: Stage, tmp_path: Path) -> None:
    uploader, folder = CheckpointUploader(stage, kept=3), tmp_path / "training"
    for step in STEPS:
        save(uploader, folder, step)
    latest = fetch_latest_checkpoint(stage, folder)
    assert latest == str(folder / "checkpoint-15")
    uploader.on_step_end(TrainingArguments(output_dir=str(folder)), TrainerState(global_step=16), TrainerControl())
    assert list(folder.iterdir()) == []  # read, and gone before the next is written
    earlier = Path(fetch_checkpoint(stage, 10, folder))
    assert (earlier / "optimizer_0/__0_0.distcp").read_text() == "shard of step 10"
