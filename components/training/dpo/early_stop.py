"""Stop DPO when it no longer gets better (Yuan et al. 2024, section 3.1.3), by judged answers or by held-out pairs."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from components.core.progress import say, warn
from components.core.records import CheckpointComparison, Observation, Record
from components.core.stage import Stage
from components.pairs.scores import SCORE_TOLERANCE
from components.training.checkpoints import fetch_checkpoint
from components.training.distributed import barrier, broadcast, is_local_main_process, is_main_process
from components.training.dpo.settings import EarlyStopSettings

Look = Callable[[int], Mapping[str, float]]  # what was measured at a step, by item; every process calls it and gets all


def compare_checkpoints(
    step: int, against: int, scores: Mapping[str, float], before: Mapping[str, float], items: Sequence[Record]
) -> CheckpointComparison:
    """Items won, tied and lost by the scores of two checkpoints."""
    gaps = [scores[one.id] - before[one.id] for one in items if one.id in scores and one.id in before]
    wins, losses = sum(gap > SCORE_TOLERANCE for gap in gaps), sum(gap < -SCORE_TOLERANCE for gap in gaps)
    return CheckpointComparison(
        id=str(step),
        step=step,
        against=against,
        wins=wins,
        ties=len(gaps) - wins - losses,
        losses=losses,
        unscored=len(items) - len(gaps),
    )


def compare_losses(
    step: int, against: int, losses: Mapping[str, float], before: Mapping[str, float], items: Sequence[Record]
) -> CheckpointComparison:
    """Pairs won (a lower loss), tied and lost, and the mean losses, which decide: in nats, at both checkpoints."""
    counted = compare_checkpoints(
        step, against, {id: -loss for id, loss in losses.items()}, {id: -loss for id, loss in before.items()}, items
    )
    means = {name: math.fsum(of.values()) / len(of) for name, of in {"loss": losses, "loss_before": before}.items()}
    return counted.model_copy(update=means)


def no_better(comparison: CheckpointComparison) -> bool:
    """Whether a checkpoint's mean loss is not lower than that of the one before; by answers, whether it wins no more
    often than it loses, and then nothing is known without a single scored prompt."""
    if comparison.loss is not None and comparison.loss_before is not None:
        return comparison.loss >= comparison.loss_before
    scored = comparison.wins + comparison.ties + comparison.losses
    return scored > 0 and comparison.wins <= comparison.losses


class EarlyStop(TrainerCallback):
    """Compares each `every`-th checkpoint, and the last one, with the one before: scores of prompts, losses of pairs.

    Training ends at the first that is no better. `kept` is then the step of the one before, unless that is the
    untrained policy: a round makes a new model, and whether it is worth anything is for the gate to say. What each look
    found stays in the stage's progress, so a training that goes on from a checkpoint has it without earlier weights.
    """

    def __init__(self, stage: Stage, settings: EarlyStopSettings, items: Sequence[Record], look: Look) -> None:
        self.stage, self.settings, self.items, self.look = stage, settings, items, look
        self.comparisons: list[CheckpointComparison] = []
        self.kept: int | None = None

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """A look before the first step; after a resume, the comparisons made so far."""
        self.found, self.looked_at = self._looked(0), 0
        for step in range(self.settings.every, state.global_step + 1, self.settings.every):
            self._compare(step, control)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Not after the end was decided: a training that goes on with that decision makes one more step."""
        step = state.global_step
        due = step % self.settings.every == 0 or step >= state.max_steps
        if self.kept is None and step > self.looked_at and due:
            self._compare(step, control)

    def _compare(self, step: int, control: TrainerControl) -> None:
        """All processes have the same numbers and decide the same."""
        found, compare = self._looked(step), compare_losses if self.settings.by == "pairs" else compare_checkpoints
        comparison = compare(step, self.looked_at, found, self.found, self.items)
        self.comparisons.append(comparison)
        if is_main_process():
            by_loss = comparison.loss is not None
            means = f"loss {comparison.loss:.6g} after {comparison.loss_before:.6g}, " if by_loss else ""
            say(
                f"dpo: step {step} against step {self.looked_at}: {means}{comparison.wins} {self.settings.by} won, "
                f"{comparison.ties} tied, {comparison.losses} lost, {comparison.unscored} unscored"
            )
            if comparison.unscored == len(self.items):
                warn("dpo: no validation answer could be scored: early stopping saw nothing and training goes on")
        if no_better(comparison):
            control.should_training_stop = True
            self.kept = self.looked_at or step
        self.found, self.looked_at = found, step

    def _looked(self, step: int) -> Mapping[str, float]:
        """What was found at the step: by an earlier attempt, else now."""
        kind = f"look-{step}"
        known = broadcast(lambda: dict(self.stage.load_progress(kind, Observation)))
        if known:
            return {id: value for id, one in known.items() for value in one.values if value is not None}
        found = self.look(step)
        if is_main_process():
            metric = "loss" if self.settings.by == "pairs" else "score"
            lines = [Observation(id=id, metric=metric, item=id, values=[value]) for id, value in found.items()]
            self.stage.save_progress(kind, lines)
        return found

    def restore(self, trainer: Any) -> int:
        """Put the weights of the kept checkpoint into the trainer's model, sharded or not; returns its step."""
        if self.kept is None:
            return int(trainer.state.global_step)
        if is_main_process():
            say(f"dpo: stopped after step {self.looked_at}, keeping step {self.kept}")
        checkpoint = fetch_checkpoint(self.stage, self.kept, Path(str(trainer.args.output_dir)))
        trainer._load_from_checkpoint(checkpoint)
        barrier()
        if is_local_main_process():
            shutil.rmtree(checkpoint)  # the new model needs the disk
        return self.kept
