"""Pairs on which the judge and the model's implicit reward agree (SCIR; Zhou et al. 2025, arXiv 2502.08922)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from components.core.progress import say
from components.core.records import Pair
from components.training.batches import DistributedDPOTrainer
from components.training.dpo.margins import drifts, reference_sums, saved_sums
from components.training.dpo.settings import DpoSettings


def keep_consistent(
    trainer: DistributedDPOTrainer, settings: DpoSettings, pairs: Sequence[Pair], policy: Path, previous: Path
) -> list[Pair]:
    """The trainer's pairs, of which it keeps those whose chosen answer has the higher implicit reward.

    The reward is DPO's own: what an answer's log-probability is under Mt, in the folder `policy`, less what it is under
    M(t-1), in `previous`.
    """
    rows: Any = trainer.train_dataset
    rewards = drifts(reference_sums(rows), saved_sums(trainer, settings, previous, policy, [rows])[0])
    agreed = [place for place, reward in enumerate(rewards) if reward.margin(settings.beta) > 0]
    say(f"dpo: judge and implicit reward agree on {len(agreed)} of {len(pairs)} pairs")
    trainer.train_dataset = rows.select(agreed)
    return [pairs[place] for place in agreed]
