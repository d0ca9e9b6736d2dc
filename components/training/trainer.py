"""The frame around TRL's trainers: arguments from settings, resume, loss curve, publishing."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase, Trainer

from components.base_model.chat import IN_FIELD, control_tokens
from components.core.errors import UserError
from components.core.ledger import count, hold, spent
from components.core.model_files import prime_model_cache
from components.core.records import Counts, CurvePoint, Manifest, Messages, Record
from components.core.scratch import scratch_folder
from components.core.stage import Stage, read_manifest
from components.training.batches import MicroBatchTrainer
from components.training.checkpoints import NOT_OF_THE_CURVE, CheckpointUploader, StepProgress, fetch_latest_checkpoint
from components.training.distributed import (
    all_gather,
    barrier,
    broadcast_on_node,
    is_main_process,
    seed_per_rank,
    world_size,
)
from components.training.finite import FiniteCheck
from components.training.memory import MicroBatch, least_micro_batch, micro_batch, micro_batch_on_cpu
from components.training.model import in_bf16, is_sharded
from components.training.saving import SavedModel
from components.training.settings import TrainingSettings
from components.training.shape import shape_of

# Every layer's weights are spread over all devices and gathered while they are needed. They come from the main process
# (`cpu_ram_efficient_loading`), see model.load_policy. In checkpoints every rank writes its own shards: a process that
# gathers all needs 12 bytes of memory and 16 of disk for each weight, and the others wait for it.
FSDP2 = {"version": 2, "state_dict_type": "SHARDED_STATE_DICT", "cpu_ram_efficient_loading": True}
# On a GPU one kernel does what otherwise takes a dozen, with copies of all weights between them.
FUSED = {"adamw_torch": "adamw_torch_fused"}


def held_at_once(model: Path, settings: TrainingSettings, pairs: bool) -> MicroBatch:
    """What a device computes with at once in training the model of that folder: on GPUs what their memory holds, where
    the model's shape tells what it takes, else one example.
    """
    if not torch.cuda.is_available():
        return micro_batch_on_cpu(settings, pairs)
    if (shape := shape_of(str(model))) is None:
        return least_micro_batch(settings, pairs)
    memory = torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory
    # the smallest: all ranks are to cut alike
    return micro_batch(shape, settings, world_size(), pairs, min(all_gather(memory)))


def trainer_arguments(settings: TrainingSettings, held: MicroBatch, folder: Path) -> dict[str, Any]:
    """Keyword arguments that SFTConfig and DPOConfig share; the device decides precision and checkpointing."""
    gpu = torch.cuda.is_available()
    return {
        "output_dir": str(folder),
        "learning_rate": settings.learning_rate,
        **_schedule(settings),
        **({"fsdp": True, "fsdp_config": dict(FSDP2)} if is_sharded(settings) else {}),
        "warmup_steps": settings.warmup,
        "num_train_epochs": settings.epochs,
        "max_steps": settings.max_steps or -1,
        "per_device_train_batch_size": _examples_of_a_device(settings),  # cut by MicroBatchTrainer
        "max_length": None,  # longer examples were dropped beforehand
        "weight_decay": settings.weight_decay,
        "max_grad_norm": settings.max_grad_norm,
        "optim": FUSED.get(settings.optimizer, settings.optimizer) if gpu else settings.optimizer,
        "seed": settings.seed,
        "data_seed": settings.seed,  # one order of the examples, of which each rank takes its part
        "bf16": in_bf16(settings),
        "gradient_checkpointing": held.checkpointing,
        "use_cpu": not gpu,
        "dataloader_pin_memory": gpu,
        "logging_steps": 1,
        "logging_first_step": True,
        "logging_nan_inf_filter": False,  # it would log the mean of earlier losses in place of nan
        "save_steps": settings.checkpoint_every,
        "save_total_limit": 1,
        "report_to": [],
        "disable_tqdm": True,
    }


def _schedule(settings: TrainingSettings) -> dict[str, Any]:
    if settings.schedule == "cosine":
        name, kwargs = "cosine_with_min_lr", {"min_lr": settings.min_learning_rate}
    else:  # transformers' "linear" ends at 0; a polynomial of power 1 is linear to a floor
        name, kwargs = "polynomial", {"lr_end": settings.min_learning_rate, "power": 1.0}
    return {"lr_scheduler_type": name, "lr_scheduler_kwargs": kwargs}


def _examples_of_a_device(settings: TrainingSettings) -> int:
    """In a step; raises UserError where the batch does not divide among the devices."""
    devices = world_size()
    if settings.batch_size % devices:
        raise UserError(
            f"batch_size {settings.batch_size} does not divide among {devices} devices",
            f"Make it a multiple of {devices}, or take fewer.",
        )
    return settings.batch_size // devices


@contextmanager
def workspace() -> Iterator[Path]:
    """A folder for one training, gone afterwards, on the disk of the model cache; the ranks of a node share one."""
    with scratch_folder() as folder:
        yield broadcast_on_node(folder)
        barrier()


def train(trainer: MicroBatchTrainer, stage: Stage, label: str, looks: int | None = None) -> None:
    """Run the trainer, from the latest checkpoint of an earlier attempt where there is one.

    Every `looks` steps it may fall back to the checkpoint of the look before, which is kept.
    """
    trainer.add_callback(FiniteCheck(stage.name))
    trainer.add_callback(CheckpointUploader(stage, looks))
    if is_main_process():
        trainer.add_callback(StepProgress(label))
    seed_per_rank(trainer.args.seed)
    checkpoint = fetch_latest_checkpoint(stage, Path(str(trainer.args.output_dir)))
    hold_devices()
    try:
        with counted_training(trainer), spent("training"):
            trainer.train(resume_from_checkpoint=checkpoint)
    except torch.OutOfMemoryError as error:
        held, name = trainer.held, stage.name
        raise UserError(
            f"{name}: the GPU's memory is too small for micro-batches of {held.examples} examples and {held.tokens:,} "
            f"tokens ({error})",
            f"Set {name}.micro_batch_size to 1 or {name}.gradient_checkpointing to true, lower {name}.max_length, "
            f"set {name}.lora, or take more GPUs (resources.gpus), over which weights are spread. "
            "docs/scale.md has the sum.",
        ) from error


def hold_devices() -> None:
    """In the ledger: every process has a GPU of its own, or all of them share the machine's cores."""
    gpus = world_size() if torch.cuda.is_available() else 0
    hold(gpus, torch.cuda.get_device_name() if gpus else "", None if gpus else os.cpu_count())


@contextmanager
def counted_training(trainer: Trainer) -> Iterator[None]:
    """In the ledger: the tokens that this attempt trains on, and what that takes at least: 2 FLOP a token and weight
    forward, 2 backward, 2 more for each weight that is trained (Kaplan et al. 2020, section 2.1). Attention over the
    context is left out: model FLOPs, as in MFU (PaLM, appendix B). In fp32 nobody asks for their share of a GPU's peak,
    which is that of bf16.
    """
    model: Any = trainer.model
    weights = [(parameter.numel(), parameter.requires_grad) for parameter in model.parameters()]
    total, trained = sum(number for number, _ in weights), sum(number for number, is_trained in weights if is_trained)
    try:
        yield
    finally:
        tokens = float(getattr(trainer, "_total_train_tokens", 0))  # TRL's, which starts anew after a resume
        flops = tokens * (4 * total + 2 * trained) if trainer.args.bf16 else 0.0
        count(**{name: value for name, value in (("trained_tokens", tokens), ("flops", flops)) if value})


def publish_model(
    stage: Stage,
    trainer: Trainer,
    saved: SavedModel,
    counts: Counts,
    metrics: Mapping[str, float],
    records: Mapping[str, Iterable[Record]] | None = None,
    last_step: int | None = None,
) -> Manifest:
    """Publish the saved model with the loss curve up to `last_step` (None: all of it), and leave a copy where serving
    looks for it. The main process does so.
    """
    if is_main_process():
        curve = [p for p in loss_curve(trainer.state.log_history) if last_step is None or p.step <= last_step]
        stage.publish(
            counts,
            {"curve": curve, **(records or {})},
            folder=saved.folder,
            metrics={**metrics, **saved.metrics, "final_loss": curve[-1].values["loss"]},
        )
        prime_model_cache(stage.uri, saved.folder)
    barrier()
    return read_manifest(stage.uri)


def loss_curve(log_history: Sequence[Mapping[str, float]]) -> list[CurvePoint]:
    """The logged steps without what is no part of the curve."""
    points = [entry for entry in log_history if "loss" in entry]
    return [
        CurvePoint(
            id=str(int(entry["step"])),
            step=int(entry["step"]),
            values={name: float(value) for name, value in entry.items() if name not in NOT_OF_THE_CURVE},
        )
        for entry in points
    ]


_control_tokens = lru_cache(maxsize=4)(control_tokens)  # asked for each example, and slow to list


def rejection_reason(tokenizer: PreTrainedTokenizerBase, messages: Messages, max_length: int) -> str | None:
    """Why a conversation cannot be trained on, None when it can.

    Text that spells the tokenizer's control tokens would be read as them, and could end its own turn. A template may
    also leave out a part of a text, as Qwen3's does with what stands before </think>. Raises UserError where it refuses
    the roles.
    """
    texts = [message[part] for message in messages for part in ("content", IN_FIELD) if message.get(part)]
    if any(token in text for text in texts for token in _control_tokens(tokenizer)):
        return "holds control tokens"
    try:
        written = str(tokenizer.apply_chat_template(messages, tokenize=False))
    except TemplateError as error:
        roles = ", ".join(message["role"] for message in messages)
        raise UserError(
            f"the model's chat template refuses a conversation of {roles} ({error})",
            "Give it one that knows them (model.chat_template), or data without system messages and with "
            "data.turns: first.",
        ) from error
    if any(text.strip() not in written for text in texts):
        return "changed by the chat template"
    encoded: Any = tokenizer.apply_chat_template(messages, tokenize=True, return_dict=True)
    return "longer than max_length" if len(encoded["input_ids"]) > max_length else None


def require_examples(kept: int, counts: Counts, remedy: str) -> None:
    """Raises UserError when nothing is left to train on."""
    if kept == 0:
        raise UserError(f"no example is left to train on ({counts.dropped})", remedy)
