"""Supervised fine-tuning of M0: on IFT the SFT baseline, on IFT and EFT, or EFT alone, the model M1."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from components.base_model.base_model import load_tokenizer
from components.core.hashing import content_hash
from components.core.ledger import spent
from components.core.model_files import model_folder
from components.core.records import Counts, Example, Manifest, Messages, conversation
from components.core.stage import Stage, parent, read_records
from components.training.distributed import local_main_process_first
from components.training.sft.settings import SftSettings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from components.training.batches import DistributedSFTTrainer

Rows = list[dict[str, Messages]]


def sft_stage(root: str, settings: SftSettings, base: str, seed_data: str, eft: str = "") -> Stage:
    """The stage, finished or in the making. The SFT baseline sees no EFT, so that its weight is not in its key."""
    settings = settings if eft else settings.model_copy(update={"eft_weight": 1.0})
    inputs = {"base": parent(base), "seed_data": parent(seed_data)} | ({"eft": parent(eft)} if eft else {})
    return Stage(root, "sft", settings, inputs)


def fine_tune(root: str, settings: SftSettings, base: str, seed_data: str, eft: str = "") -> Manifest:
    """The sft stage: `base` trained on the IFT examples of `seed_data`, and on the EFT examples of `eft` if given."""
    stage = sft_stage(root, settings, base, seed_data, eft)
    if stage.manifest:
        return stage.manifest
    with spent("starting"):
        from components.training.trainer import workspace  # a reused stage starts without torch

    examples = read_records(seed_data, "ift", Example) + (read_records(eft, "eft", Example) if eft else [])
    with workspace() as folder:
        return _train(stage, settings, local_main_process_first(lambda: model_folder(base)), examples, folder)


def _train(stage: Stage, settings: SftSettings, base: Path, examples: Sequence[Example], folder: Path) -> Manifest:
    with spent("starting"):
        from components.training.model import untrained_model
        from components.training.saving import save_trained
        from components.training.trainer import publish_model, require_examples, train

    tokenizer = load_tokenizer(base)
    rows, counts = training_rows(examples, tokenizer, settings)
    require_examples(len(rows), counts, "Raise sft.max_length or give more seed data.")
    trainer = make_trainer(base, tokenizer, rows, settings, folder)
    train(trainer, stage, f"training on {len(rows)} examples (steps)")
    saved = save_trained(trainer, lambda: untrained_model(base, settings), base, settings, folder / "model")
    return publish_model(stage, trainer, saved, counts, {})


def training_rows(
    examples: Sequence[Example], tokenizer: PreTrainedTokenizerBase, settings: SftSettings
) -> tuple[Rows, Counts]:
    """Rows in TRL's prompt/completion form: the loss falls on the completion alone. EFT examples stand there as often
    as `eft_weight` says.
    """
    from components.training.trainer import rejection_reason

    usable: list[tuple[Example, dict[str, Messages]]] = []
    kept: Counter[str] = Counter()
    dropped: Counter[str] = Counter()
    for example in examples:
        row = example_row(example)
        if reason := rejection_reason(tokenizer, row["prompt"] + row["completion"], settings.max_length):
            dropped[f"{example.kind}: {reason}"] += 1
        else:
            usable.append((example, row))
    times = repeats([example for example, _ in usable if example.kind == "eft"], settings.eft_weight, settings.seed)
    rows: Rows = []
    for example, row in usable:
        number = times[example.id] if example.kind == "eft" else 1
        kept[example.kind] += min(number, 1)
        kept[f"{example.kind}, again"] += max(number - 1, 0)
        dropped[f"{example.kind}: left out by eft_weight"] += number == 0
        rows += [row] * number
    return rows, Counts(kept=dict(+kept), dropped=dict(+dropped))


def example_row(example: Example) -> dict[str, Messages]:
    """The example as two lists of messages. Of a conversation its last answer alone is learned: those before it may be
    poor ones, and the good ones are examples of their own.
    """
    return {
        "prompt": conversation(example.history, example.prompt),
        "completion": [{"role": "assistant", "content": example.completion}],
    }


def repeats(examples: Sequence[Example], weight: float, seed: int) -> dict[str, int]:
    """How often each example, by id, is trained on in an epoch: `weight` times on average.

    What is left beyond whole times goes to those that a hash of seed and id draws: neither their order nor other
    examples' ids decide.
    """
    whole, more = divmod(round(weight * len(examples)), max(1, len(examples)))
    order = sorted((example.id for example in examples), key=lambda id: content_hash([seed, "eft_weight", id]))
    return {id: whole + (place < more) for place, id in enumerate(order)}


def make_trainer(
    base: Path, tokenizer: PreTrainedTokenizerBase, rows: Rows, settings: SftSettings, folder: Path
) -> DistributedSFTTrainer:
    """TRL's SFTTrainer on the rows."""
    from datasets import Dataset
    from trl import SFTConfig

    from components.training.batches import DistributedSFTTrainer
    from components.training.model import load_policy, lora_config
    from components.training.trainer import held_at_once, trainer_arguments

    held = held_at_once(base, settings, pairs=False)
    return DistributedSFTTrainer(
        held=held,
        model=load_policy(base, settings),
        args=SFTConfig(**trainer_arguments(settings, held, folder)),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        peft_config=lora_config(settings),
    )
