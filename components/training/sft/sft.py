"""Supervised fine-tuning of M0: on IFT the SFT baseline, on IFT and EFT, or EFT alone, the model M1."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from components.base_model.base_model import load_tokenizer
from components.core.model_files import model_folder
from components.core.records import Counts, Example, Manifest, Messages
from components.core.stage import Stage, parent, read_records
from components.training.distributed import local_main_process_first
from components.training.sft.settings import SftSettings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase
    from trl import SFTTrainer

Rows = list[dict[str, Messages]]


def sft_stage(root: str, settings: SftSettings, base: str, seed_data: str, eft: str = "") -> Stage:
    """The stage, finished or in the making."""
    inputs = {"base": parent(base), "seed_data": parent(seed_data)} | ({"eft": parent(eft)} if eft else {})
    return Stage(root, "sft", settings, inputs)


def fine_tune(root: str, settings: SftSettings, base: str, seed_data: str, eft: str = "") -> Manifest:
    """The sft stage: `base` trained on the IFT examples of `seed_data`, and on the EFT examples of `eft` if given."""
    stage = sft_stage(root, settings, base, seed_data, eft)
    if stage.manifest:
        return stage.manifest
    from components.training.trainer import workspace  # a reused stage starts without torch

    examples = read_records(seed_data, "ift", Example) + (read_records(eft, "eft", Example) if eft else [])
    with workspace() as folder:
        return _train(stage, settings, local_main_process_first(lambda: model_folder(base)), examples, folder)


def _train(stage: Stage, settings: SftSettings, base: Path, examples: Sequence[Example], folder: Path) -> Manifest:
    from components.training.model import untrained_model
    from components.training.saving import save_trained
    from components.training.trainer import publish_model, require_examples, train

    tokenizer = load_tokenizer(base)
    rows, counts = training_rows(examples, tokenizer, settings.max_length)
    require_examples(len(rows), counts, "Raise sft.max_length or give more seed data.")
    trainer = make_trainer(base, tokenizer, rows, settings, folder)
    train(trainer, stage, f"training on {len(rows)} examples (steps)")
    saved = save_trained(trainer, lambda: untrained_model(base, settings), base, settings, folder / "model")
    return publish_model(stage, trainer, saved, counts, {})


def training_rows(
    examples: Sequence[Example], tokenizer: PreTrainedTokenizerBase, max_length: int
) -> tuple[Rows, Counts]:
    """Rows in TRL's prompt/completion form: the loss falls on the completion alone."""
    from components.training.trainer import rejection_reason

    rows: Rows = []
    counts = Counts()
    for example in examples:
        prompt = [{"role": "user", "content": example.prompt}]
        completion = [{"role": "assistant", "content": example.completion}]
        reason = rejection_reason(tokenizer, prompt + completion, max_length)
        bucket, name = (counts.dropped, f"{example.kind}: {reason}") if reason else (counts.kept, example.kind)
        bucket[name] = bucket.get(name, 0) + 1
        if not reason:
            rows.append({"prompt": prompt, "completion": completion})
    return rows, counts


def make_trainer(
    base: Path, tokenizer: PreTrainedTokenizerBase, rows: Rows, settings: SftSettings, folder: Path
) -> SFTTrainer:
    """TRL's SFTTrainer on the rows."""
    from datasets import Dataset
    from trl import SFTConfig

    from components.training.model import load_policy, lora_config
    from components.training.padding import DistributedSFTTrainer
    from components.training.trainer import trainer_arguments

    return DistributedSFTTrainer(
        model=load_policy(base, settings),
        args=SFTConfig(**trainer_arguments(settings, folder)),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        peft_config=lora_config(settings),
    )
