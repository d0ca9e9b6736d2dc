"""The work of a training process: enough to make the stage in any process, on any node. It holds no secret."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from components.core.records import Manifest
from components.core.stage import Stage
from components.training.dpo.dpo import DpoInputs, dpo_stage, train_dpo
from components.training.dpo.settings import DpoSettings
from components.training.sft.settings import SftSettings
from components.training.sft.sft import fine_tune, sft_stage

TORCHRUN, WORKER = "components.training.launch.torchrun", "components.training.launch.worker"
LESS_MEMORY = (  # what to do where a training was killed for it
    "Lower sft.micro_batch_size, dpo.micro_batch_size or their max_length, or give it more (in pods "
    "resources.memory_limit), then run again: training goes on from its checkpoint."
)
PROBLEM = "training-problem: "  # begins the line of a worker's log that holds a UserError


class TrainingRequest(BaseModel):
    """A stage to make: its settings, and its inputs by role.

    `processes` train together, on all nodes, each of which has `gpus` or more.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["sft", "dpo"]
    root: str
    settings: dict[str, Any]
    inputs: dict[str, str]
    processes: int = 1
    gpus: int = 0

    def on(self, processes: int, gpus: int = 0) -> TrainingRequest:
        """The same for so many processes, and so many GPUs of each node."""
        return self.model_copy(update={"processes": processes, "gpus": gpus})

    def stage(self) -> Stage:
        """The stage, finished or in the making; without torch."""
        if self.kind == "sft":
            return sft_stage(self.root, SftSettings(**self.settings), **self.inputs)
        return dpo_stage(self.root, DpoSettings(**self.settings), DpoInputs(**self.inputs))

    def make(self) -> Manifest:
        """Train in this process, alone or as one of several."""
        if self.kind == "sft":
            return fine_tune(self.root, SftSettings(**self.settings), **self.inputs)
        return train_dpo(self.root, DpoSettings(**self.settings), DpoInputs(**self.inputs))
