"""An epoch's last step, where fewer examples are left than several ranks hold at once.

accelerate would fill it with examples from the epoch's beginning. Here it is filled with what has no weight, so that
several ranks train on what one process trains on: the left examples, once.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from itertools import cycle, islice
from typing import Any

from accelerate.data_loader import SeedableRandomSampler
from datasets import Dataset, concatenate_datasets
from torch import Tensor
from torch.utils.data import Sampler
from transformers import Trainer
from trl import DPOTrainer, SFTTrainer

from components.training import ranks
from components.training.sharded import ShardingTrainer


class LastStep:
    """Of an epoch of `examples`: how many micro-batches of `micro` hold what is left, how many make ranks equal."""

    def __init__(self, examples: int, batch: int, micro: int) -> None:
        self.left = examples % batch
        self.full = math.ceil(self.left / micro)  # micro-batches, the last of them perhaps not full
        self.empty = -self.full % ranks.world_size()
        self.missing = self.full * micro - self.left  # examples in the last of the full ones


class FilledUp(Sampler[int]):
    """The order of one process, and what then fills the last step up: `nothing`, or its last micro-batch again."""

    def __init__(self, examples: int, seed: int, last: LastStep, micro: int, nothing: int | None) -> None:
        self.order = SeedableRandomSampler(range(examples), data_seed=seed)
        self.last, self.micro, self.nothing = last, micro, nothing

    def set_epoch(self, epoch: int) -> None:
        self.order.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self.order) + self.last.missing + self.last.empty * self.micro

    def __iter__(self) -> Iterator[int]:
        order = list(self.order)
        held = order[len(order) - (self.micro - self.last.missing) :]
        filling = cycle(held if self.nothing is None else [self.nothing])
        yield from order
        yield from islice(filling, len(self) - len(order))


class SftRanks(ShardingTrainer, SFTTrainer):
    """An example without labels counts nothing: SFT's loss is a sum over tokens by their number on all ranks."""

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> Any:
        examples, last = _examples(self), _last_step(self)
        if ranks.world_size() == 1 or not last.left:
            return super()._get_train_sampler(train_dataset)
        return FilledUp(examples, _seed(self), last, self.args.per_device_train_batch_size, nothing=examples)

    def get_train_dataloader(self) -> Any:
        """The dataset is longer by the row of nothing while the loader is made."""
        rows: Any = self.train_dataset
        sampler = self._get_train_sampler()
        if not isinstance(sampler, FilledUp):
            return super().get_train_dataloader()
        first = rows[0]
        nothing = Dataset.from_list([first | {"labels": [-100] * len(first["labels"])}], features=rows.features)
        return self._get_dataloader(
            dataset=concatenate_datasets([rows, nothing]),
            description="Training",
            batch_size=self._train_batch_size,
            sampler_fn=lambda _: sampler,
            is_training=True,
        )


class DpoRanks(ShardingTrainer, DPOTrainer):
    """DPO's loss is a mean of the micro-batches' means, so those that only fill up get the weight 0."""

    _step, _micro_batch = -1, 0

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> Any:
        last = _last_step(self)
        if ranks.world_size() == 1 or not last.left:
            return super()._get_train_sampler(train_dataset)
        return FilledUp(_examples(self), _seed(self), last, self.args.per_device_train_batch_size, nothing=None)

    def training_step(self, *arguments: Any, **named: Any) -> Tensor:
        """Counts the micro-batches of this rank within a step."""
        same = self._step == self.state.global_step
        self._step, self._micro_batch = self.state.global_step, self._micro_batch + 1 if same else 0
        return super().training_step(*arguments, **named)

    def compute_loss(self, model: Any, inputs: Any, *arguments: Any, **named: Any) -> Any:
        loss = super().compute_loss(model, inputs, *arguments, **named)
        return loss * self._weight() if model.training else loss

    def _weight(self) -> float:
        """Rank r holds the micro-batches r, r + ranks, r + 2 ranks, ... of a step."""
        last, steps = _last_step(self), math.ceil(_examples(self) / _batch(self))
        if not last.empty or (self.state.global_step + 1) % steps:
            return 1.0
        number = self._micro_batch * ranks.world_size() + int(os.environ["RANK"])
        return (last.full + last.empty) / last.full if number < last.full else 0.0


def _last_step(trainer: Trainer) -> LastStep:
    return LastStep(_examples(trainer), _batch(trainer), trainer.args.per_device_train_batch_size)


def _examples(trainer: Trainer) -> int:
    rows: Any = trainer.train_dataset
    return len(rows)


def _batch(trainer: Trainer) -> int:
    args = trainer.args
    return args.per_device_train_batch_size * args.gradient_accumulation_steps * ranks.world_size()


def _seed(trainer: Trainer) -> int:
    seed = trainer.args.data_seed
    return trainer.args.seed if seed is None else seed
