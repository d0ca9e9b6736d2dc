"""Some pairs are watched from the first step of DPO to the model that it saves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from components.core.errors import UserError
from components.core.progress import say
from components.core.records import Pair
from components.metrics.observations import Values
from components.training.batches import DistributedDPOTrainer
from components.training.distributed import is_main_process
from components.training.dpo.margins import (
    Drift,
    Sums,
    drifts,
    mean_loss,
    policy_sums,
    reference_sums,
    saved_sums,
)
from components.training.dpo.settings import DpoSettings
from components.training.model import in_bf16
from components.training.saving import SavedModel

TRAINED = 16  # pairs among those that are trained on
# At step 0 policy and reference are the same, every margin is 0 and the loss is -log sigmoid(0) = ln 2: in fp32 to
# rounding; in bf16, too, where both round alike, but kernels may differ by the shape of a batch.
TOLERANCE = {False: 1e-4, True: 2e-2}


class PairWatch(TrainerCallback):
    """Watches the first pairs of the training and the held-out ones.

    Before the first step it raises UserError where the loss is not ln 2. While DPO trains, the held-out pairs' figures
    join what the trainer logs. Sharded weights can be evaluated only when training has begun, and then no longer as
    they were where it goes on from a checkpoint: `start_loss` stays None, and nothing is refused.
    """

    def __init__(self, trainer: DistributedDPOTrainer, settings: DpoSettings, held_out: Sequence[Pair]) -> None:
        self.trainer, self.settings, self.held_out = trainer, settings, held_out
        trained: Any = trainer.train_dataset
        self.trained_rows: Dataset = trained.select(range(min(TRAINED, len(trained))))
        self.start_loss: float | None = None
        self.start_sums: list[Sums] = []
        if not trainer.is_fsdp_enabled:
            self._begin(at_the_start=True)

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if self.trainer.is_fsdp_enabled:
            self._begin(at_the_start=state.global_step == 0)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        step = state.global_step
        if self.held_out and (step % self.settings.checkpoint_every == 0 or step >= state.max_steps):
            now = drifts(policy_sums(self.trainer, self._held_out_rows()), self.held_out_reference)
            self.held_out_now = self._values(now)
            figures = {name: math.fsum(values) / len(values) for name, values in self.held_out_now.items()}
            self.trainer.also_logged = {f"held_out/{name}": value for name, value in figures.items()}
            if is_main_process():
                named = ", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in figures.items())
                say(f"dpo: step {step}, {len(self.held_out)} held-out pairs: {named}")

    def losses(self, step: int) -> dict[str, float]:
        """DPO's loss on each held-out pair, by the pair's id, as it was measured at this step; before the first, where
        policy and reference are the same, ln 2. Every process has them all."""
        of_pairs = self.held_out_now["loss"] if step else [math.log(2)] * len(self.held_out)
        return {pair.id: loss for pair, loss in zip(self.held_out, of_pairs, strict=True)}

    def saved_figures(self, saved: SavedModel, start: Path) -> tuple[dict[str, float], dict[str, Values]]:
        """Metrics of the model as it was saved, and what they are made of, by metric and held-out pair.

        `start` is the folder of Mt. Raises UserError where the saved model is the one that DPO started from.
        """
        trained, held_out = self._saved_sums(saved.folder, start)
        if trained == self.start_sums:
            raise UserError(
                f"DPO changed nothing: all {len(trained)} pairs have the log-probabilities that they started "
                f"with, and {saved.metrics.get('retained_change', 0):.0%} of the weights' changes are left in the file",
                "Raise dpo.learning_rate or dpo.epochs, or set dpo.save_dtype to float32.",
            )
        beta, moved = self.settings.beta, drifts(trained, self.trained_reference)
        metrics = {} if self.start_loss is None else {"start_loss": self.start_loss}
        metrics |= {
            "end_loss": mean_loss(moved, beta),
            "end_margin": math.fsum(one.margin(beta) for one in moved) / len(moved),
        }
        values = self._values(drifts(held_out, self.held_out_reference)) if self.held_out else {}
        return metrics, {
            f"held_out_{name}": {pair.id: (value,) for pair, value in zip(self.held_out, of_pairs, strict=True)}
            for name, of_pairs in values.items()
        }

    def _begin(self, at_the_start: bool) -> None:
        self.trained_reference = reference_sums(self.trained_rows)
        self.held_out_reference = reference_sums(self._held_out_rows()) if self.held_out else []
        if at_the_start:
            self.start_sums = policy_sums(self.trainer, self.trained_rows)
            self.start_loss = self._require_ln_2(drifts(self.start_sums, self.trained_reference))

    def _require_ln_2(self, of_pairs: Sequence[Drift]) -> float:
        loss = mean_loss(of_pairs, self.settings.beta)
        if not abs(loss - math.log(2)) <= TOLERANCE[in_bf16(self.settings)]:
            raise UserError(
                f"the DPO loss starts at {loss:.4f} and not at ln 2 = 0.6931: the reference is not the model to be "
                "trained",
                "This is a defect, not a setting: please report it with the recipe.",
            )
        return loss

    def _held_out_rows(self) -> Dataset:
        rows: Any = self.trainer.eval_dataset
        return rows

    def _values(self, of_pairs: Sequence[Drift]) -> dict[str, list[float]]:
        """By figure, one number a pair: margins and loss as DPO has them, drift in nats."""
        beta = self.settings.beta
        return {
            "margin": [one.margin(beta) for one in of_pairs],
            "accuracy": [float(one.margin(beta) > 0) for one in of_pairs],
            "loss": [one.loss(beta) for one in of_pairs],
            "chosen_drift": [one.chosen for one in of_pairs],
            "rejected_drift": [one.rejected for one in of_pairs],
        }

    def _saved_sums(self, folder: Path, start: Path) -> tuple[list[Sums], list[Sums]]:
        """Of the trained and of the held-out pairs under the model in `folder`, which the main process has."""
        watched = [self.trained_rows, *([self._held_out_rows()] if self.held_out else [])]
        trained, *held_out = saved_sums(self.trainer, self.settings, folder, start, watched)
        return trained, held_out[0] if held_out else []
