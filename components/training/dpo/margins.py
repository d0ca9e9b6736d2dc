"""How far the policy is from its reference on some pairs: margins, their loss, and where log-probabilities went."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor
from trl.trainer.utils import add_fused_lm_head

from components.core.progress import Progress
from components.training.batches import DistributedDPOTrainer, cut, row_lengths
from components.training.distributed import all_gather, broadcast, is_main_process, rank, world_size
from components.training.dpo.settings import DpoSettings
from components.training.model import evaluating, load_saved

REFERENCE = ("ref_chosen_logps", "ref_rejected_logps")  # TRL's names of the columns that its loss reads
Sums = tuple[float, float]  # log-probabilities (nats) of a pair's answers, summed over tokens: chosen, rejected


@dataclass(frozen=True)
class Drift:
    """Of one pair: log-probability of each answer under the policy less that under the reference, in nats."""

    chosen: float
    rejected: float

    def margin(self, beta: float) -> float:
        """DPO's implicit reward of the chosen answer less that of the rejected (Rafailov et al. 2023, equation 7)."""
        return beta * (self.chosen - self.rejected)

    def loss(self, beta: float) -> float:
        """-log sigmoid(margin), in nats; ln 2 where policy and reference are the same."""
        margin = self.margin(beta)
        return max(-margin, 0.0) + math.log1p(math.exp(-abs(margin)))


def drifts(policy: Sequence[Sums], reference: Sequence[Sums]) -> list[Drift]:
    """Pair by pair."""
    return [Drift(p[0] - r[0], p[1] - r[1]) for p, r in zip(policy, reference, strict=True)]


def mean_loss(of_pairs: Sequence[Drift], beta: float) -> float:
    return math.fsum(drift.loss(beta) for drift in of_pairs) / len(of_pairs)


def policy_sums(
    trainer: DistributedDPOTrainer, pairs: Dataset, model: Any = None, alone: bool = False, label: str = ""
) -> list[Sums]:
    """Under the policy as it is now, dropout off, or under another frozen `model`; every rank gets all.

    Each rank asks for its share of the pairs, those of like length at once, except where it is `alone`; with a `label`
    there is a progress bar. Raises RuntimeError where log-probabilities are not fp32: sums of rounded ones would be
    multiples of whole nats.
    """
    model, lengths = trainer.model if model is None else model, row_lengths(pairs)
    order = sorted(range(len(pairs)), key=lengths.__getitem__, reverse=True)
    batches = [order[part] for part in cut([2 * lengths[number] for number in order], trainer.held)]
    number, ranks = (0, 1) if alone else (rank(), world_size())
    found: dict[int, Sums] = {}
    with evaluating(model), trainer.accelerator.autocast():
        turns = range(0, len(batches), ranks)  # all ranks take each: sharded weights are gathered together
        for first in _counted(turns, label):
            batch = batches[min(first + number, len(batches) - 1)]
            found |= zip(batch, _sums(trainer, model, [pairs[n] for n in batch]), strict=True)
    gathered = [found] if alone else all_gather(found)
    return [sums for _, sums in sorted({n: sums for one in gathered for n, sums in one.items()}.items())]


def _counted(turns: range, label: str) -> Iterator[int]:
    """The turns; with a `label` the main process tells of each that is done."""
    if not label or not is_main_process():
        yield from turns
        return
    with Progress(label, len(turns)) as progress:
        for turn in turns:
            yield turn
            progress.advance()


def reference_sums(pairs: Dataset) -> list[Sums]:
    """Under the reference, which was asked before training began (reference.py)."""
    return list(zip(*(pairs[name] for name in REFERENCE), strict=True))


def saved_sums(
    trainer: DistributedDPOTrainer, settings: DpoSettings, folder: Path, start: Path, pairs: Sequence[Dataset]
) -> list[list[Sums]]:
    """Of each of the data sets, under the model that was saved in `folder` of the main process; every rank gets all.

    `start` is a folder that every rank has, of a model of the same shape.
    """
    model = load_saved(folder, start, settings)
    if model is not None:
        add_fused_lm_head(model)
        model.to(trainer.args.device)  # type: ignore[arg-type]
    if trainer.is_fsdp_enabled:
        return [policy_sums(trainer, rows, model) for rows in pairs]
    return broadcast(lambda: [policy_sums(trainer, rows, model, alone=True) for rows in pairs])


def _sums(trainer: DistributedDPOTrainer, model: Any, rows: list[Any]) -> list[Sums]:
    """Of some pairs at once, as the loss sums them: with `ld_alpha`, what exceeds the shorter answer's length counts
    by that factor."""
    inputs: Any = trainer._prepare_inputs(trainer.data_collator(rows))
    completion = inputs["completion_mask"]
    log_probs: Tensor = model(
        input_ids=inputs["input_ids"],
        attention_mask=inputs["attention_mask"],
        labels=inputs["input_ids"].masked_fill(completion == 0, -100),
        use_cache=False,
        fused_lm_head=True,
    ).log_probs  # [2 x pairs, tokens - 1], 0 outside of answers
    if log_probs.dtype != torch.float32:
        raise RuntimeError(f"log-probabilities are {log_probs.dtype} and not fp32")
    if trainer.ld_alpha is not None:
        place = completion[:, 1:].cumsum(dim=1)
        shared = torch.minimum(*place[:, -1].chunk(2)).repeat(2)
        log_probs = log_probs * torch.where(place <= shared[:, None], 1.0, trainer.ld_alpha)
    chosen, rejected = log_probs.sum(dim=1).chunk(2)
    return list(zip(chosen.tolist(), rejected.tolist(), strict=True))
