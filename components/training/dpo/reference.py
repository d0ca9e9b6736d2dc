"""DPO's reference is asked once for each pair, before training begins, by all ranks.

What it says is a stage of its own, by model and pairs, which other trainings on these find, or this one after a crash.
No stage is made from it: its last digits depend on who asked, and with them would the keys of all that follows.
"""

from __future__ import annotations

import gc
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
from datasets import Dataset
from peft import PeftModel

from components.core.progress import say
from components.core.records import Counts, Pair, ReferenceLogProbs
from components.core.stage import Stage, parent, read_records
from components.training.batches import DistributedDPOTrainer
from components.training.distributed import broadcast, is_main_process
from components.training.dpo.margins import REFERENCE, Sums, policy_sums, reference_sums
from components.training.dpo.settings import DpoSettings, ReferenceSettings
from components.training.model import in_bf16

KIND = "log_probs"  # of the stage's records


def reference_stage(root: str, settings: DpoSettings, model: str, pairs: str) -> Stage:
    """Of the model and the pairs at these URIs, finished or in the making."""
    asked = ReferenceSettings(
        max_length=settings.max_length,
        ld_alpha=settings.ld_alpha,
        passes="bf16" if in_bf16(settings) else "fp32",
        frozen=settings.lora is not None,
    )
    return Stage(root, "reference_log_probs", asked, {"model": parent(model), "pairs": parent(pairs)})


def kept_reference(stage: Stage) -> dict[str, Sums] | None:
    """By pair, what the stage holds, the same for all ranks; None where it is not finished."""

    def read() -> dict[str, Sums] | None:
        if not stage.manifest:
            return None
        say("dpo: what the reference says of these pairs is in the store")
        return {one.id: (one.chosen, one.rejected) for one in read_records(stage.uri, KIND, ReferenceLogProbs)}

    return broadcast(read)


def keep_reference(
    stage: Stage, trainer: DistributedDPOTrainer, pairs: Sequence[Pair], held_out: Sequence[Pair], counts: Counts
) -> None:
    """The main process publishes what the trainer's datasets, of these pairs, have of it; `counts` are of all pairs."""
    if is_main_process():
        datasets: list[Any] = [trainer.train_dataset, *([trainer.eval_dataset] if held_out else [])]
        sums = [one for dataset in datasets for one in reference_sums(dataset)]
        lines = [
            ReferenceLogProbs(id=pair.id, chosen=chosen, rejected=rejected)
            for pair, (chosen, rejected) in zip([*pairs, *held_out], sums, strict=True)
        ]
        stage.publish(counts, {KIND: lines})


def ask_reference(trainer: DistributedDPOTrainer) -> None:
    """Adds what it says to the trainer's datasets, where that is not there yet, and gives its memory back."""
    trainer.train_dataset = _with_sums(trainer, trainer.train_dataset)
    if trainer.eval_dataset is not None:
        trainer.eval_dataset = _with_sums(trainer, trainer.eval_dataset)
    trainer.ref_model = None
    gc.collect()  # TRL's head holds the model, and the model the head
    torch.cuda.empty_cache()


def _with_sums(trainer: DistributedDPOTrainer, pairs: Any) -> Dataset:
    if REFERENCE[0] in pairs.column_names:
        return pairs
    for name, sums in zip(REFERENCE, zip(*_sums(trainer, pairs), strict=True), strict=True):
        pairs = pairs.add_column(name, list(sums))
    return pairs


def _sums(trainer: DistributedDPOTrainer, pairs: Dataset) -> list[Sums]:
    """Without a reference of its own it is the untrained policy, its adapter off."""
    policy: Any = trainer.accelerator.unwrap_model(trainer.model)
    adapter = trainer.ref_model is None and isinstance(policy, PeftModel)
    with policy.disable_adapter() if adapter else nullcontext():
        return policy_sums(trainer, pairs, trainer.ref_model, label="asking DPO's reference (batches of pairs)")
