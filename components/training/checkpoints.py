"""Checkpoints lie beside the output in the store, so training goes on after a crash, on any machine."""

from __future__ import annotations

import json
import shutil
import uuid
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from components.core.progress import Progress, say
from components.core.stage import Stage
from components.training import ranks

PLACE = "progress/checkpoints"


class CheckpointUploader(TrainerCallback):
    """Copies each checkpoint to the stage, its marker last, and keeps the newest `kept` of this attempt.

    The first rank of each node copies what lies there (beside the weights every rank has its random state); the first
    of all writes the marker.
    """

    def __init__(self, stage: Stage, kept: int) -> None:
        self.stage, self.kept = stage, kept
        # two runs of one stage do not touch each other's checkpoints
        self.attempt = ranks.from_first(lambda: uuid.uuid4().hex[:8])

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        name = f"checkpoint-{state.global_step}"
        ranks.wait()  # for the files of all
        mine = self._upload(Path(str(args.output_dir)) / name) if ranks.is_first_on_node() else []
        files = sorted({file for files in ranks.gathered(mine) for file in files})
        if ranks.is_first():
            mark = {"step": state.global_step, "files": files}
            self.stage.store.write(f"{PLACE}/{self.attempt}/{name}.json", json.dumps(mark).encode())
            self._remove_older()

    def _upload(self, folder: Path) -> list[str]:
        files = [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]
        for file in files:
            self.stage.store.upload(folder / file, f"{PLACE}/{self.attempt}/{folder.name}/{file}")
        return files

    def _remove_older(self) -> None:
        mine = [mark for mark in _marks(self.stage) if mark.startswith(f"{PLACE}/{self.attempt}/")]
        for mark in sorted(mine, key=_step)[: -self.kept]:
            _remove(self.stage, mark)


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
    latest = ranks.from_first(lambda: max(_marks(stage), key=_step, default=None))
    if latest is None:
        return None
    if ranks.is_first():
        say(f"{stage.name}: continuing from its checkpoint at step {_step(latest)}")
    return _fetch(stage, latest, folder)


def fetch_checkpoint(stage: Stage, step: int, folder: Path) -> str:
    """The checkpoint of that step as a folder below `folder`: the one that lies there, else a download."""
    mark = next(mark for mark in _marks(stage) if _step(mark) == step)
    local = folder / Path(mark).stem
    whole = all((local / file).exists() for file in _files(stage, mark))
    return str(local) if all(ranks.gathered(whole)) else _fetch(stage, mark, folder)


def _fetch(stage: Stage, mark: str, folder: Path) -> str:
    """Once for all ranks of a node, which have `folder` in common."""
    target = folder / Path(mark).stem
    if ranks.is_first_on_node():
        shutil.rmtree(target, ignore_errors=True)
        for file in _files(stage, mark):
            (target / file).parent.mkdir(parents=True, exist_ok=True)
            stage.store.download(f"{mark.removesuffix('.json')}/{file}", target / file)
    ranks.wait()
    return str(target)


def _files(stage: Stage, mark: str) -> list[str]:
    files: list[str] = json.loads(stage.store.read(mark) or b"{}")["files"]
    return files


def _step(mark: str) -> int:
    return int(Path(mark).stem.removeprefix("checkpoint-"))


def _marks(stage: Stage) -> list[str]:
    names = stage.store.names(f"{PLACE}/")
    return [name for name in names if name.count("/") == PLACE.count("/") + 2 and name.endswith(".json")]


def _remove(stage: Stage, mark: str) -> None:
    stage.store.delete(mark)  # the marker first: without it the files are no checkpoint
    for name in stage.store.names(f"{mark.removesuffix('.json')}/"):
        stage.store.delete(name)
