"""DPO starts where policy and reference are the same."""

from __future__ import annotations

import math
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from trl import DPOTrainer

from components.core.errors import UserError
from components.training.model import evaluating

# At step 0 policy and reference are the same, every margin is 0 and the loss is -log sigmoid(0) = ln 2.
# fp32 is exact to rounding; in bf16 two passes over one sequence may differ by some 1e-2 nats.
TOLERANCE = {"cpu": 1e-4, "cuda": 2e-2}


class StartLossCheck(TrainerCallback):
    """Measures the loss of the first pairs before training; raises UserError in every rank where it is not ln 2.

    Sharded weights can be evaluated only when training has begun, and then no longer after a resume: `loss` stays None.
    """

    def __init__(self, trainer: DPOTrainer) -> None:
        self.trainer, self.loss = trainer, None if trainer.is_fsdp_enabled else start_loss(trainer)

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if self.loss is None and state.global_step == 0:
            self.loss = start_loss(self.trainer)


def start_loss(trainer: DPOTrainer) -> float:
    """The loss of the first pairs, in nats; raises UserError where it is not ln 2."""
    loss = first_batch_loss(trainer)
    if abs(loss - math.log(2)) > TOLERANCE[trainer.args.device.type]:
        raise UserError(
            f"the DPO loss starts at {loss:.4f} and not at ln 2 = 0.6931: the reference is not the model to be trained",
            "This is a defect, not a setting: please report it with the recipe.",
        )
    return loss


def first_batch_loss(trainer: Any) -> float:
    """The preference loss of the first pairs, in nats, dropout off and without the NLL term."""
    types, weights = trainer.loss_types, trainer.loss_weights
    trainer.loss_types, trainer.loss_weights = ["sigmoid"], [1.0]
    rows = [trainer.train_dataset[n] for n in range(min(len(trainer.train_dataset), trainer.args.train_batch_size))]
    batch = trainer._prepare_inputs(trainer.data_collator(rows))
    with evaluating(trainer.model), trainer.compute_loss_context_manager():
        loss = float(trainer.compute_loss(trainer.model, batch))
    trainer.loss_types, trainer.loss_weights = types, weights
    return loss
