"""The last step of an epoch, where fewer examples remain than several ranks hold at once.

accelerate would fill it with examples from the epoch's beginning. Here it is padded with rows that have no weight, so
that several ranks train on what one process trains on: the remaining examples, once.
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
        batch_size = self.micro_batch_size * trainer.args.gradient_accumulation_steps * world_size()
        self.steps_per_epoch = math.ceil(self.examples / batch_size)
        remaining = self.examples % batch_size
        self.needs_padding = world_size() > 1 and remaining > 0
        self.filled = math.ceil(remaining / self.micro_batch_size)  # the last of them perhaps not to its end
        self.missing = self.filled * self.micro_batch_size - remaining  # examples, at the end of that one
        self.empty = -self.filled % world_size()


class PaddedSampler(Sampler[int]):
    """The order of one process, then indices that fill the last step: `padding`, or its last micro-batch again."""

    def __init__(self, trainer: Trainer, padding: int | None) -> None:
        self.last_step, self.padding = LastStep(trainer), padding
        seed = trainer.args.seed if trainer.args.data_seed is None else trainer.args.data_seed
        self.order = SeedableRandomSampler(range(self.last_step.examples), data_seed=seed)

    def set_epoch(self, epoch: int) -> None:
        self.order.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self.order) + self.last_step.missing + self.last_step.empty * self.last_step.micro_batch_size

    def __iter__(self) -> Iterator[int]:
        order = list(self.order)
        last_micro_batch = order[len(order) - (self.last_step.micro_batch_size - self.last_step.missing) :]
        padding = cycle(last_micro_batch if self.padding is None else [self.padding])
        yield from order
        yield from islice(padding, len(self) - len(order))


class DistributedSFTTrainer(ShardingTrainer, SFTTrainer):
    """Pads with an example without labels: SFT's loss is a sum over tokens by their number on all ranks."""

    def get_train_dataloader(self) -> Any:
        """The dataset is longer by the example without labels while the loader is made."""
        dataset: Any = self.train_dataset
        if not LastStep(self).needs_padding:
            return super().get_train_dataloader()
        sampler, first = PaddedSampler(self, padding=len(dataset)), dataset[0]
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
        if LastStep(self).needs_padding:
            return PaddedSampler(self, padding=None)
        return super()._get_train_sampler(train_dataset)

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
