"""SFT and DPO beside TRL's trainers as they come: the same examples in the same steps, so that the losses are equal.

Counted are seconds of CPU of one thread, from the rows to the last step: others on the machine make none longer.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset, disable_progress_bars, enable_progress_bars
from transformers import AutoModelForCausalLM
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

from components.base_model.base_model import load_tokenizer
from components.core.records import Pair
from components.training.dpo import dpo
from components.training.dpo.settings import DpoSettings
from components.training.settings import TrainingSettings
from components.training.sft import sft
from components.training.sft.settings import SftSettings
from tests.benchmarks.row import Row
from tests.benchmarks.small_model import make_small_model

LONGEST = 600
SAME = {"dropout": 0.0, "precision": "fp32", "max_length": LONGEST, "checkpoint_every": 1000}
# TRL's own: 8 at once, activations computed again, DPO's reference beside the policy. Batches of 16 are the paper's.
AS_IT_COMES = {"gradient_accumulation_steps": 2, "bf16": False, "use_cpu": True}
QUIET = {"report_to": [], "disable_tqdm": True, "save_strategy": "no", "logging_steps": 1}
Trainer = SFTTrainer | DPOTrainer


def made_pairs(count: int, seed: int = 0) -> list[Pair]:
    """Texts of so many tokens as OpenAssistant's (oasst2, English): prompts with a median of 21, best answers of 180,
    others of 65; their logarithms spread by 1.0, 1.05 and 1.7. A byte is a token here.
    """
    draw = np.random.default_rng(seed)
    spread = {"prompt": (21, 1.0, 100), "chosen": (180, 1.05, 450), "rejected": (65, 1.7, 450)}
    scores = {"chosen_id": "a", "rejected_id": "b", "chosen_score": 5, "rejected_score": 1}
    pairs = []
    for n in range(count):
        texts = {}
        for name, (median, deviation, longest) in spread.items():
            length = int(np.clip(np.exp(draw.normal(np.log(median), deviation)), 2, longest))
            texts[name] = "".join(chr(letter) for letter in draw.integers(97, 123, length))
        pairs.append(Pair(id=str(n), **texts, **scores))
    return pairs


def ours(kind: str, model: Path, pairs: list[Pair], folder: Path) -> Trainer:
    tokenizer = load_tokenizer(model)
    if kind == "dpo":
        return dpo.make_trainer(model, tokenizer, pairs, DpoSettings(**SAME), folder)
    return sft.make_trainer(model, tokenizer, _sft_rows(pairs), SftSettings(**SAME), folder)


def as_it_comes(kind: str, model: Path, pairs: list[Pair], folder: Path) -> Trainer:
    """TRL's trainer with its defaults, and with the numbers of ours that decide the losses."""
    settings: TrainingSettings = DpoSettings(**SAME) if kind == "dpo" else SftSettings(**SAME)
    arguments: dict[str, Any] = {
        "output_dir": str(folder),
        "learning_rate": settings.learning_rate,
        "lr_scheduler_type": "cosine_with_min_lr",
        "lr_scheduler_kwargs": {"min_lr": settings.min_learning_rate},
        "num_train_epochs": 1,
        "seed": settings.seed,
        "data_seed": settings.seed,
        "max_length": None,
    }
    arguments |= AS_IT_COMES | QUIET
    policy = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    tokenizer = load_tokenizer(model)
    if kind == "dpo":
        data = Dataset.from_list([dpo.preference_row(pair) for pair in pairs])
        return DPOTrainer(model=policy, args=DPOConfig(**arguments), train_dataset=data, processing_class=tokenizer)
    data = Dataset.from_list(_sft_rows(pairs))
    return SFTTrainer(model=policy, args=SFTConfig(**arguments), train_dataset=data, processing_class=tokenizer)


def _sft_rows(pairs: list[Pair]) -> list[Any]:
    rows = [dpo.preference_row(pair) for pair in pairs]
    return [{"prompt": row["prompt"], "completion": row["chosen"]} for row in rows]


def trained(make: Callable[..., Trainer], kind: str, model: Path, pairs: list[Pair]) -> tuple[float, list[float]]:
    """Seconds of CPU, and the loss of each step."""
    with tempfile.TemporaryDirectory() as folder:
        begun = time.process_time()
        trainer = make(kind, model, pairs, Path(folder))
        trainer.args.save_strategy = "no"
        trainer.train()
        seconds = time.process_time() - begun
    return seconds, [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def rows(quick: bool) -> list[Row]:
    """Raises AssertionError where the losses are not the same."""
    threads, made = torch.get_num_threads(), []
    torch.set_num_threads(1)
    disable_progress_bars()
    with tempfile.TemporaryDirectory() as folder:
        model, pairs = make_small_model(Path(folder)), made_pairs(16 if quick else 64)
        for kind in ("sft", "dpo"):
            turns = [
                [trained(make, kind, model, pairs) for make in (ours, as_it_comes)] for _ in range(1 if quick else 2)
            ]
            seconds, theirs = (min(one[0] for one in of_one) for of_one in zip(*turns, strict=True))
            losses = turns[0][0][1]
            assert all(others == pytest.approx(losses, abs=1e-4) for turn in turns for _, others in turn)
            part = f"{kind.upper()} on {len(pairs)} {'pairs' if kind == 'dpo' else 'examples'}"
            note = "one thread; equal losses"
            made.append(Row(part, "s of CPU", seconds, "TRL", theirs, less_is_better=True, of_other=1.5, note=note))
    enable_progress_bars()
    torch.set_num_threads(threads)
    return made
