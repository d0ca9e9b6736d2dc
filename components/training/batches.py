"""Which examples a step's processes hold, and how each cuts its own into micro-batches.

A step trains on the examples that the seed draws for it, and its loss does not say which of them stood beside which. So
a process computes with examples of like length at once, as many as its memory holds, and none waits for a longer one.

In the last step of an epoch fewer examples may remain than several ranks hold at once. accelerate would fill it with
examples from the epoch's beginning. Here several ranks train on what one process trains on: the remaining examples,
once. What fills their batches has no weight.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from itertools import cycle, islice
from types import MappingProxyType
from typing import Any

import torch
from accelerate.data_loader import SeedableRandomSampler
from datasets import Dataset, concatenate_datasets
from torch import Tensor
from torch.utils.data import Sampler
from transformers import Trainer
from trl import DPOTrainer, SFTTrainer

from components.training.distributed import all_gather, rank, world_size
from components.training.memory import MicroBatch
from components.training.sharded import ShardingTrainer

Batch = dict[str, Any]


class LastStep:
    """An epoch's last step: how many examples remain for it, and what fills the batches of several ranks."""

    def __init__(self, trainer: Trainer) -> None:
        dataset: Any = trainer.train_dataset
        self.examples = len(dataset)
        self.held = trainer.args.per_device_train_batch_size
        self.batch_size = self.held * world_size()
        self.steps_per_epoch = math.ceil(self.examples / self.batch_size)
        self.remaining = self.examples % self.batch_size
        self.missing = self.batch_size - self.remaining if world_size() > 1 and self.remaining else 0

    def of_rank(self) -> int:
        """How many of the remaining examples are this rank's, the first of its batch."""
        return min(max(self.remaining - rank() * self.held, 0), self.held)


class BatchOrder(Sampler[int]):
    """The order of all processes: of each step the ranks' batches one after the other, each from its longest example
    on; then indices that fill the last step's, `padding` or the last example.

    Of an incomplete step the ranks take what they get: its order stays.
    """

    def __init__(self, trainer: Trainer, together: int = 1, padding: int | None = None) -> None:
        self.last_step, self.together, self.padding = LastStep(trainer), together, padding
        self.lengths = row_lengths(trainer.train_dataset)
        seed = trainer.args.seed if trainer.args.data_seed is None else trainer.args.data_seed
        self.order = SeedableRandomSampler(range(self.last_step.examples), data_seed=seed)

    def set_epoch(self, epoch: int) -> None:
        self.order.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self.order) + self.last_step.missing

    def __iter__(self) -> Iterator[int]:
        order, size = list(self.order), self.last_step.batch_size
        for first in range(0, len(order) - size + 1, size):
            of_step = slice(first, first + size)
            order[of_step] = self._dealt(sorted(order[of_step], key=self.lengths.__getitem__, reverse=True))
        yield from order
        yield from islice(cycle([order[-1] if self.padding is None else self.padding]), self.last_step.missing)

    def _dealt(self, examples: list[int]) -> list[int]:
        """`together` examples to each rank in turn, so that all have long and short ones."""
        hands: list[list[int]] = [[] for _ in range(world_size())]
        for number, first in enumerate(range(0, len(examples), self.together)):
            hands[number % world_size()] += examples[first : first + self.together]
        return [example for hand in hands for example in hand]


def row_lengths(dataset: Any) -> list[int]:
    """Tokens of each example of TRL's dataset, of a pair those of its longer side."""
    if "input_ids" in dataset.column_names:
        return [len(row["input_ids"]) for row in dataset.select_columns(["input_ids"])]
    pairs = dataset.select_columns(["prompt_ids", "chosen_ids", "rejected_ids"])
    return [len(row["prompt_ids"]) + max(len(row["chosen_ids"]), len(row["rejected_ids"])) for row in pairs]


def cut(lengths: Sequence[int], held: MicroBatch) -> list[slice]:
    """Examples that follow each other, as many as are held at once, and at least one."""
    parts, first, tokens = [], 0, 0
    for number, length in enumerate(lengths):
        if number > first and (tokens + length > held.tokens or number - first == held.examples):
            parts.append(slice(first, number))
            first, tokens = number, 0
        tokens += length
    return [*parts, slice(first, len(lengths))]


class MicroBatchTrainer(ShardingTrainer):
    """Its dataloader gives a process all its examples of a step; here they are cut into micro-batches.

    `sides`: rows of the batch that are one example: of a pair first all chosen answers, then all rejected ones.
    """

    sides = 1

    def __init__(self, *args: Any, held: MicroBatch, **kwargs: Any) -> None:
        self.held = held
        super().__init__(*args, **kwargs)

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> Any:
        return BatchOrder(self, self._together)

    @property
    def _together(self) -> int:
        """So many neighbours by length go to one rank: those that it computes with at once."""
        whole = self.args.per_device_train_batch_size
        return self.held.examples if whole % self.held.examples == 0 else 1

    def training_step(self, model: Any, inputs: Batch, num_items_in_batch: Any = None) -> Tensor:
        """The sum of the micro-batches' losses."""
        parts, real, losses = self._parts(inputs), self._examples(inputs), []
        for part in parts:
            rows = self._rows(inputs, part)
            self.weigh(rows, part.start < real)
            # sharded gradients are not kept whole until the last one: they would take the memory of all weights
            together = part == parts[-1] or self.is_fsdp_enabled
            with nullcontext() if together else self.accelerator.no_sync(model):
                losses.append(super().training_step(model, rows, num_items_in_batch))
        return torch.stack(losses).sum()

    def _parts(self, inputs: Batch) -> list[slice]:
        """As many on all ranks, and as many examples in each: sharded weights want the one, TRL's figures the other.

        Of an epoch's incomplete last step the ranks have different numbers of examples: there it is one at a time.
        """
        if self._is_incomplete():
            last_step = LastStep(self)
            return [slice(number, number + 1) for number in range(min(last_step.remaining, last_step.held))]
        return cut([max(lengths) for lengths in zip(*all_gather(self._lengths(inputs)), strict=True)], self.held)

    def _lengths(self, inputs: Batch) -> list[int]:
        """Tokens of each example, of both sides together."""
        lengths: list[int] = inputs["attention_mask"].sum(dim=1).view(self.sides, -1).sum(dim=0).tolist()
        return lengths

    def weigh(self, part: Batch, is_real: bool) -> None:
        """What the next micro-batch counts for; where it is not real, nothing."""
        raise NotImplementedError

    def _rows(self, inputs: Batch, examples: slice) -> Batch:
        """Of these examples, no wider than the longest."""
        whole = inputs["attention_mask"]
        rows = {
            name: torch.cat([side[examples] for side in value.chunk(self.sides)])
            if len(value) == len(whole)
            else value[examples]
            for name, value in inputs.items()
        }
        longest = int(rows["attention_mask"].sum(dim=1).max())
        return {name: value[:, :longest] if value.dim() > 1 else value for name, value in rows.items()}

    def _is_incomplete(self) -> bool:
        """Whether this is an epoch's last step, and several ranks have too few examples for it."""
        last_step, step = LastStep(self), self.state.global_step + 1
        return bool(last_step.missing) and step % last_step.steps_per_epoch == 0

    def _examples(self, inputs: Batch) -> int:
        """This rank's in a step: all of its batch, but for what fills it."""
        if self._is_incomplete():
            return LastStep(self).of_rank()
        return len(inputs["attention_mask"]) // self.sides


class DistributedSFTTrainer(MicroBatchTrainer, SFTTrainer):
    """What fills the last step is an example without labels: SFT's loss is a sum over tokens by their number on all
    ranks."""

    weight = 1.0

    def get_train_dataloader(self) -> Any:
        """The dataset is longer by the example without labels while the loader is made."""
        dataset: Any = self.train_dataset
        if not LastStep(self).missing:
            return super().get_train_dataloader()
        sampler, first = BatchOrder(self, self._together, padding=len(dataset)), dataset[0]
        unlabelled = Dataset.from_list([first | {"labels": [-100] * len(first["labels"])}], features=dataset.features)
        return self._get_dataloader(
            dataset=concatenate_datasets([dataset, unlabelled]),
            description="Training",
            batch_size=self._train_batch_size,
            sampler_fn=lambda _: sampler,
            is_training=True,
        )

    def weigh(self, part: Batch, is_real: bool) -> None:
        self.weight = float(is_real)

    def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
        return self.weight * super().compute_loss(*args, **kwargs)


class DistributedDPOTrainer(MicroBatchTrainer, DPOTrainer):
    """DPO's loss is a mean over pairs, its NLL one over the tokens of chosen answers, of all ranks together.

    `also_logged` joins what is logged next.
    """

    sides = 2
    also_logged: Mapping[str, float] = MappingProxyType({})

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        logs.update(self.also_logged)
        self.also_logged = {}
        super().log(logs, *args, **kwargs)

    def training_step(self, model: Any, inputs: Batch, num_items_in_batch: Any = None) -> Tensor:
        """What a micro-batch's means are multiplied with: its share of the step's pairs, and of their tokens. DDP takes
        the mean of the ranks, so that each counts as often as there are ranks."""
        real = self._examples(inputs)
        found = all_gather((real, int(inputs["completion_mask"][:real, 1:].sum())))
        self.pairs, self.tokens = (sum(counts) / world_size() for counts in zip(*found, strict=True))
        return super().training_step(model, inputs, num_items_in_batch)

    def weigh(self, part: Batch, is_real: bool) -> None:
        chosen = part["completion_mask"].chunk(2)[0][:, 1:]
        shares = {"sft": int(chosen.sum()) / max(self.tokens, 1)}
        pairs = len(chosen) / self.pairs
        arguments: Any = self.args
        weights = arguments.loss_weights or [1.0] * len(self.loss_types)
        self.loss_weights = [
            is_real * weight * shares.get(name, pairs) for name, weight in zip(self.loss_types, weights, strict=True)
        ]

    def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
        with self.accelerator.autocast():  # of the policy anyway; a reference of its own is to round as it does
            return super().compute_loss(*args, **kwargs)

    def _precompute_ref_logps(self, dataset: Dataset, name: str, batch_size: int) -> Dataset:
        """As it is: what the reference says is there, or comes before training (dpo/reference.py). TRL would keep it on
        one node's disk."""
        return dataset
