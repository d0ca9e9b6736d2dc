"""Checkpoints lie beside the output in the store, so training goes on after a crash, on any machine."""

from __future__ import annotations

import json
import shutil
import uuid
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from components.progress import Progress, say
from components.stage import Stage

PLACE = "progress/checkpoints"


class CheckpointUploader(TrainerCallback):
    """Copies each checkpoint to the stage, its marker last, and keeps the newest `kept` of this attempt."""

    def __init__(self, stage: Stage, kept: int) -> None:
        self.stage, self.kept = stage, kept
        self.attempt = uuid.uuid4().hex[:8]  # two runs of one stage do not touch each other's checkpoints

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if not state.is_world_process_zero:
            return
        name = f"checkpoint-{state.global_step}"
        folder = Path(str(args.output_dir)) / name
        files = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
        for file in files:
            self.stage.store.upload(folder / file, f"{PLACE}/{self.attempt}/{name}/{file}")
        mark = {"step": state.global_step, "files": files}
        self.stage.store.write(f"{PLACE}/{self.attempt}/{name}.json", json.dumps(mark).encode())
        mine = [mark for mark in _marks(self.stage) if mark.startswith(f"{PLACE}/{self.attempt}/")]
        for mark_name in sorted(mine, key=_step)[: -self.kept]:
            _remove(self.stage, mark_name)


class StepProgress(TrainerCallback):
    """The trainer's steps as a progress bar."""

    def __init__(self, label: str) -> None:
        self.label = label

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self.progress = Progress(self.label, state.max_steps, done=state.global_step)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self.progress.advance()


def fetch_latest_checkpoint(stage: Stage, folder: Path) -> str | None:
    """Download the latest whole checkpoint of any earlier attempt below `folder`; None where there is none."""
    marks = _marks(stage)
    if not marks:
        return None
    latest = max(marks, key=_step)
    say(f"{stage.name}: continuing from its checkpoint at step {_step(latest)}")
    return _fetch(stage, latest, folder)


def fetch_checkpoint(stage: Stage, step: int, folder: Path) -> str:
    """The checkpoint of that step as a folder below `folder`: the one that lies there, else a download."""
    local = folder / f"checkpoint-{step}"
    if local.exists():
        return str(local)
    return _fetch(stage, next(mark for mark in _marks(stage) if _step(mark) == step), folder)


def _fetch(stage: Stage, mark: str, folder: Path) -> str:
    target = folder / Path(mark).stem
    shutil.rmtree(target, ignore_errors=True)
    for file in json.loads(stage.store.read(mark) or b"{}")["files"]:
        (target / file).parent.mkdir(parents=True, exist_ok=True)
        stage.store.download(f"{mark.removesuffix('.json')}/{file}", target / file)
    return str(target)


def _step(mark: str) -> int:
    return int(Path(mark).stem.removeprefix("checkpoint-"))


def _marks(stage: Stage) -> list[str]:
    names = stage.store.names(f"{PLACE}/")
    return [name for name in names if name.count("/") == PLACE.count("/") + 2 and name.endswith(".json")]


def _remove(stage: Stage, mark: str) -> None:
    stage.store.delete(mark)  # the marker first: without it the files are no checkpoint
    for name in stage.store.names(f"{mark.removesuffix('.json')}/"):
        stage.store.delete(name)
