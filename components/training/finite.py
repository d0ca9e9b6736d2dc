"""A training whose numbers are no numbers any more ends at once."""

from __future__ import annotations

import math
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from components.core.errors import UserError


class FiniteCheck(TrainerCallback):
    """Raises UserError, in every rank, at the first step that logs nan or an infinity: before its checkpoint is saved.

    The trainer logs each step, loss and gradient norm of all ranks among it. One such step makes all weights nan; what
    would be published days later answers nothing.
    """

    def __init__(self, stage: str) -> None:
        self.stage = stage

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: Any = None, **_: Any
    ) -> None:
        wrong = {name: value for name, value in (logs or {}).items() if not _is_finite(value)}
        if wrong:
            named = ", ".join(f"{name} is {value}" for name, value in sorted(wrong.items()))
            raise UserError(
                f"{self.stage} went astray at step {state.global_step} of {state.max_steps}: {named}",
                f"Lower {self.stage}.learning_rate (it is {args.learning_rate:g}) or {self.stage}.max_grad_norm, "
                f"or lengthen {self.stage}.warmup; nothing was published.",
            )


def _is_finite(value: Any) -> bool:
    return not isinstance(value, float) or math.isfinite(value)
