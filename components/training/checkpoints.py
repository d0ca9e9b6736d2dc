"""Checkpoints lie beside the output in the store, so training goes on after a crash, on any machine.

A checkpoint is its files and, written last, a marker: CHECKPOINTS/<attempt>/checkpoint-<step>.json with step and files.
"""

from __future__ import annotations

import json
import shutil
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from components.core.progress import Progress, emit_point, say
from components.core.stage import Stage
from components.training.distributed import all_gather, barrier, broadcast, is_local_main_process, is_main_process

CHECKPOINTS = "progress/checkpoints"
NOT_OF_THE_CURVE = ("step", "epoch", "num_tokens")  # TRL's count of tokens starts anew after a resume


class CheckpointUploader(TrainerCallback):
    """Copies each checkpoint to the stage, its marker last, and keeps the newest of this attempt there; where there are
    `looks` (early stopping, every so many steps), also that of the last one before it: training may fall back to it.

    The first process of each node copies its node's files (every rank has its random state, and its shards of sharded
    weights); the main process writes the marker. On the node's own disk nothing is kept, so it never holds two. In the
    store an older one goes when the newer is whole, not before: a training that ends while it copies needs the older.
    """

    def __init__(self, stage: Stage, looks: int | None = None) -> None:
        self.stage, self.looks = stage, looks
        # two runs of one stage do not touch each other's checkpoints
        self.folder = f"{CHECKPOINTS}/{broadcast(lambda: uuid.uuid4().hex[:8])}"

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        checkpoint = f"checkpoint-{state.global_step}"
        folder = Path(str(args.output_dir)) / checkpoint
        files: list[str] = []
        barrier()  # every rank has written its files
        if is_local_main_process():
            files = [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]
            self._copy(folder, files)
            shutil.rmtree(folder)
        files = sorted({file for of_node in all_gather(files) for file in of_node})
        if is_main_process():
            marker = {"step": state.global_step, "files": files}
            self.stage.store.write(f"{self.folder}/{checkpoint}.json", json.dumps(marker).encode())
            self.stage.note_spent()
            self._remove_older()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """The checkpoint that training went on from has been read by all when they have made a step together."""
        if is_local_main_process():
            for folder in Path(str(args.output_dir)).glob("checkpoint-*"):
                shutil.rmtree(folder)

    def _copy(self, folder: Path, files: list[str]) -> None:
        """What breaks off, on a full disk say, leaves nothing of this checkpoint: the next try has room for its own."""
        store = self.stage.store
        begun: list[str] = []
        try:
            for file in files:
                begun.append(f"{self.folder}/{folder.name}/{file}")
                store.upload(folder / file, begun[-1])
        except BaseException:
            for name in begun:
                with suppress(Exception):  # the store may be away: what counts is why the copy broke off
                    store.delete(name)
            raise

    def _remove_older(self) -> None:
        store = self.stage.store
        own = [marker for marker in _markers(self.stage) if marker.startswith(f"{self.folder}/")]
        kept = {newest := max(map(_step, own))}
        if self.looks:
            kept.add((newest - 1) // self.looks * self.looks)
        for marker in [marker for marker in own if _step(marker) not in kept]:
            store.delete(marker)  # the marker first: without it the files are no checkpoint
            for name in store.names(f"{marker.removesuffix('.json')}/"):
                store.delete(name)


class StepProgress(TrainerCallback):
    """The trainer's steps as a progress bar, and what it logs as points of its curve (finite ones: see FiniteCheck)."""

    def __init__(self, label: str) -> None:
        self.label = label

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self.progress = Progress(self.label, state.max_steps, done=state.global_step)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self.progress.advance()

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: Any = None, **_: Any
    ) -> None:
        if logs and "loss" in logs:
            emit_point(state.global_step, {name: float(logs[name]) for name in logs if name not in NOT_OF_THE_CURVE})


def fetch_latest_checkpoint(stage: Stage, folder: Path) -> str | None:
    """Download the latest whole checkpoint of any earlier attempt below `folder`; None where there is none."""
    latest = broadcast(lambda: max(_markers(stage), key=_step, default=None))
    if latest is None:
        return None
    if is_main_process():
        say(f"{stage.name}: continuing from its checkpoint at step {_step(latest)}")
    return _download(stage, latest, folder, _files(stage, latest))


def fetch_checkpoint(stage: Stage, step: int, folder: Path) -> str:
    """The checkpoint of that step, of any attempt, as a folder below `folder`: without the optimizer's state, which is
    two thirds of it."""
    marker = broadcast(lambda: next(marker for marker in _markers(stage) if _step(marker) == step))
    files = [file for file in _files(stage, marker) if not file.startswith("optimizer")]
    return _download(stage, marker, folder, files)


def _download(stage: Stage, marker: str, folder: Path, files: list[str]) -> str:
    """Once for all ranks of a node, which share `folder`."""
    target = folder / Path(marker).stem
    if is_local_main_process():
        shutil.rmtree(target, ignore_errors=True)
        for file in files:
            (target / file).parent.mkdir(parents=True, exist_ok=True)
            stage.store.download(f"{marker.removesuffix('.json')}/{file}", target / file)
    barrier()
    return str(target)


def _markers(stage: Stage) -> list[str]:
    names = stage.store.names(f"{CHECKPOINTS}/")
    return [name for name in names if name.count("/") == CHECKPOINTS.count("/") + 2 and name.endswith(".json")]


def _step(marker: str) -> int:
    return int(Path(marker).stem.removeprefix("checkpoint-"))


def _files(stage: Stage, marker: str) -> list[str]:
    files: list[str] = json.loads(stage.store.read(marker) or b"{}")["files"]
    return files
