"""Which examples a step's micro-batches hold.

A step trains on the examples that the seed draws for it, and its loss does not say which of them stood beside which. So
those of like length share a micro-batch, and little of it is padding; of several ranks none waits for a longer one.

In the last step of an epoch fewer examples may remain than several ranks hold at once. accelerate would fill it with
examples from the epoch's beginning. Here it is padded with rows that have no weight, so that several ranks train on
what one process trains on: the remaining examples, once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from itertools import cycle, islice
from types import MappingProxyType
from typing import Any

from accelerate.data_loader import SeedableRandomSampler
from datasets import Dataset, concatenate_datasets
from torch import Tensor
from torch.utils.data import Sampler
from transformers import Trainer
from trl import DPOTrainer, SFTTrainer

from components.training.distributed import rank, world_size
from components.training.sharded import ShardingTrainer


class LastStep:
    """An epoch's last step in micro-batches: those that the remaining examples fill, and the empty ones that give every
    rank the same number of them."""

    def __init__(self, trainer: Trainer) -> None:
        dataset: Any = trainer.train_dataset
        self.examples = len(dataset)
        self.micro_batch_size = trainer.args.per_device_train_batch_size
        self.batch_size = self.micro_batch_size * trainer.args.gradient_accumulation_steps * world_size()
        self.steps_per_epoch = math.ceil(self.examples / self.batch_size)
        remaining = self.examples % self.batch_size
        self.needs_padding = world_size() > 1 and remaining > 0
        self.filled = math.ceil(remaining / self.micro_batch_size)  # the last of them perhaps not to its end
        # examples, at the end of that one
        self.missing = self.filled * self.micro_batch_size - remaining if self.needs_padding else 0
        self.empty = -self.filled % world_size()


class BatchOrder(Sampler[int]):
    """The order of one process, the longest example of each step first; then indices that fill the last step:
    `padding`, or its last micro-batch again.

    An incomplete step keeps its order: in the mean of DPO's micro-batches an example counts more in one that is not
    full, and the shortest are no better than others.
    """

    def __init__(self, trainer: Trainer, padding: int | None = None) -> None:
        self.last_step, self.padding = LastStep(trainer), padding
        self.lengths = row_lengths(trainer.train_dataset)
        seed = trainer.args.seed if trainer.args.data_seed is None else trainer.args.data_seed
        self.order = SeedableRandomSampler(range(self.last_step.examples), data_seed=seed)

    def set_epoch(self, epoch: int) -> None:
        self.order.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self.order) + self.last_step.missing + self.last_step.empty * self.last_step.micro_batch_size

    def __iter__(self) -> Iterator[int]:
        order, size = list(self.order), self.last_step.batch_size
        for first in range(0, len(order) - size + 1, size):
            of_step = slice(first, first + size)
            order[of_step] = sorted(order[of_step], key=self.lengths.__getitem__, reverse=True)
        last_micro_batch = order[len(order) - (self.last_step.micro_batch_size - self.last_step.missing) :]
        padding = cycle(last_micro_batch if self.padding is None else [self.padding])
        yield from order
        yield from islice(padding, len(self) - len(order))


def row_lengths(dataset: Any) -> list[int]:
    """Tokens of each example of TRL's dataset, of a pair those of its longer side: what it takes in a micro-batch."""
    if "input_ids" in dataset.column_names:
        return [len(row["input_ids"]) for row in dataset.select_columns(["input_ids"])]
    pairs = dataset.select_columns(["prompt_ids", "chosen_ids", "rejected_ids"])
    return [len(row["prompt_ids"]) + max(len(row["chosen_ids"]), len(row["rejected_ids"])) for row in pairs]


class DistributedSFTTrainer(ShardingTrainer, SFTTrainer):
    """Pads with an example without labels: SFT's loss is a sum over tokens by their number on all ranks."""

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> Any:
        return BatchOrder(self)

    def get_train_dataloader(self) -> Any:
        """The dataset is longer by the example without labels while the loader is made."""
        dataset: Any = self.train_dataset
        if not LastStep(self).needs_padding:
            return super().get_train_dataloader()
        sampler, first = BatchOrder(self, padding=len(dataset)), dataset[0]
        unlabelled = Dataset.from_list([first | {"labels": [-100] * len(first["labels"])}], features=dataset.features)
        return self._get_dataloader(
            dataset=concatenate_datasets([dataset, unlabelled]),
            description="Training",
            batch_size=self._train_batch_size,
            sampler_fn=lambda _: sampler,
            is_training=True,
        )


class DistributedDPOTrainer(ShardingTrainer, DPOTrainer):
    """Pads with micro-batches of weight 0: DPO's loss is a mean of the micro-batches' means.

    `also_logged` joins what is logged next.
    """

    _step, _micro_batch = -1, 0
    also_logged: Mapping[str, float] = MappingProxyType({})

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        logs.update(self.also_logged)
        self.also_logged = {}
        super().log(logs, *args, **kwargs)

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> Any:
        return BatchOrder(self)

    def training_step(self, *args: Any, **kwargs: Any) -> Tensor:
        """Counts the micro-batches of this rank within a step."""
        same_step = self._step == self.state.global_step
        self._step, self._micro_batch = self.state.global_step, self._micro_batch + 1 if same_step else 0
        return super().training_step(*args, **kwargs)

    def compute_loss(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """In a padded last step the filled micro-batches share the weight of all.

        Rank r holds the micro-batches r, r + ranks, r + 2 ranks, ... of a step.
        """
        with self.accelerator.autocast():  # of the policy anyway; a reference of its own is to round as it does
            loss, last_step = super().compute_loss(model, inputs, *args, **kwargs), LastStep(self)
        is_last = (self.state.global_step + 1) % last_step.steps_per_epoch == 0
        if not (model.training and last_step.empty and is_last):
            return loss
        number = self._micro_batch * world_size() + rank()
        return loss * ((last_step.filled + last_step.empty) / last_step.filled if number < last_step.filled else 0.0)
