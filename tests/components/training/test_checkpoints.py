"""Checkpoints: the newest ones in the store, none left on the node's disk."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import TrainerControl, TrainerState, TrainingArguments

from components.core.errors import UserError
from components.core.stage import Stage
from components.core.store import DirectoryStore
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
    (folder / f"checkpoint-{step}" / "weights.bin").write_text(f"weights of step {step}")
    uploader.on_save(TrainingArguments(output_dir=str(folder)), TrainerState(global_step=step), TrainerControl())


def test_the_disk_never_holds_two_and_the_store_holds_the_newest(stage: Stage, tmp_path: Path) -> None:
    """A checkpoint of 70B has 840 GB: before the next is written, the last is gone from the node's disk."""
    uploader, folder = CheckpointUploader(stage), tmp_path / "training"
    for step in STEPS:
        save(uploader, folder, step)
        assert list(folder.iterdir()) == []
        files = {f"checkpoint-{step}/optimizer_0/__0_0.distcp", f"checkpoint-{step}/weights.bin"}
        assert stored(stage) == {f"checkpoint-{step}.json", *files}


def test_a_copy_that_breaks_off_leaves_nothing(stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk: each try to go on left half a checkpoint more, for which space had to be freed again (issue 16)."""
    uploader, folder, upload = CheckpointUploader(stage), tmp_path / "training", DirectoryStore.upload
    save(uploader, folder, 5)

    def full(store: DirectoryStore, path: Path, name: str) -> None:
        if path.name == "weights.bin":
            raise UserError(f"cannot write {name}", "Free some space.")
        upload(store, path, name)

    monkeypatch.setattr(DirectoryStore, "upload", full)
    with pytest.raises(UserError, match="cannot write"):
        save(uploader, folder, 10)
    assert stored(stage) == {"checkpoint-5.json", "checkpoint-5/optimizer_0/__0_0.distcp", "checkpoint-5/weights.bin"}


def stored(stage: Stage) -> set[str]:
    """Markers and files of the attempt's checkpoints."""
    names = stage.store.names(f"{CHECKPOINTS}/")
    return {name.removeprefix(f"{CHECKPOINTS}/").partition("/")[2] for name in names}


def test_the_store_holds_what_training_may_fall_back_to(stage: Stage, tmp_path: Path) -> None:
    """With looks every 10 steps: the newest, and the last look before it (also while the newest is looked at)."""
    uploader, folder, kept = CheckpointUploader(stage, looks=10), tmp_path / "training", []
    for step in (5, 10, 15, 20, 25, 28):
        save(uploader, folder, step)
        names = [name for name in stored(stage) if name.endswith(".json")]
        kept.append(sorted(int(name.removeprefix("checkpoint-").removesuffix(".json")) for name in names))
    assert kept == [[5], [10], [10, 15], [10, 20], [20, 25], [20, 28]]


def test_what_is_not_on_the_disk_comes_from_the_store(stage: Stage, tmp_path: Path) -> None:
    uploader, folder = CheckpointUploader(stage, looks=5), tmp_path / "training"
    for step in STEPS:
        save(uploader, folder, step)
    latest = fetch_latest_checkpoint(stage, folder)
    assert latest == str(folder / "checkpoint-15")
    uploader.on_step_end(TrainingArguments(output_dir=str(folder)), TrainerState(global_step=16), TrainerControl())
    assert list(folder.iterdir()) == []  # read, and gone before the next is written
    earlier = Path(fetch_checkpoint(stage, 10, folder))
    assert {path.name: path.read_text() for path in earlier.rglob("*.*")} == {"weights.bin": "weights of step 10"}
