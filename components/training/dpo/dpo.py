"""DPO from Mt on its own preference pairs makes M(t+1); the reference policy is Mt (Yuan et al. 2024, section 2.4)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from components.base_model.base_model import load_tokenizer
from components.core.errors import UserError
from components.core.model_files import model_folder
from components.core.records import Counts, Manifest, Messages, Pair, Parent, Prompt
from components.core.stage import Stage, parent, read_records
from components.serving.client import endpoint_identity
from components.training.distributed import local_main_process_first, world_size
from components.training.dpo.settings import DpoSettings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase
    from trl import DPOTrainer

    from components.training.dpo.early_stop import EarlyStop

Rows = list[dict[str, Messages]]


@dataclass(frozen=True)
class DpoInputs:
    """URIs of Mt, its pairs and the seed data, whose validation prompts are for early stopping.

    `judge_endpoint` is another judge for these, empty where Mt judges.
    """

    model: str
    pairs: str
    seed_data: str = ""
    judge_endpoint: str = ""


def dpo_stage(root: str, settings: DpoSettings, inputs: DpoInputs) -> Stage:
    """The stage, finished or in the making.

    The validation prompts and their judge are among its parents only where training may stop early.
    """
    parents = {"model": parent(inputs.model), "pairs": parent(inputs.pairs)}
    if settings.early_stop:
        parents["seed_data"] = parent(inputs.seed_data)
        if inputs.judge_endpoint:
            parents["judge"] = Parent(uri=inputs.judge_endpoint, digest=endpoint_identity(inputs.judge_endpoint))
    return Stage(root, "dpo", settings, parents)


def train_dpo(root: str, settings: DpoSettings, inputs: DpoInputs) -> Manifest:
    """The dpo stage; raises UserError when the policy does not start as the reference, or does not move."""
    stage = dpo_stage(root, settings, inputs)
    if stage.manifest:
        return stage.manifest
    from components.training.trainer import workspace  # a reused stage starts without torch

    with workspace() as folder:
        return _train(stage, settings, inputs, folder)


def _train(stage: Stage, settings: DpoSettings, inputs: DpoInputs, folder: Path) -> Manifest:
    from components.training.dpo.start_loss import StartLossCheck, first_batch_loss
    from components.training.model import untrained_model
    from components.training.trainer import publish_model, require_examples, train

    policy = local_main_process_first(lambda: model_folder(inputs.model))
    tokenizer = load_tokenizer(policy)
    rows, counts = preference_rows(read_records(inputs.pairs, "pairs", Pair), tokenizer, settings.max_length)
    require_examples(len(rows), counts, "Raise dpo.max_length.")
    trainer = make_trainer(policy, tokenizer, rows, settings, folder)
    check, early_stop = StartLossCheck(trainer), _early_stop(stage, settings, inputs, policy)
    for callback in filter(None, (check, early_stop)):
        trainer.add_callback(callback)
    train(trainer, stage, f"DPO on {len(rows)} pairs (steps)")
    last_step = early_stop.restore(trainer) if early_stop else trainer.state.global_step
    end_loss = first_batch_loss(trainer)
    if end_loss == check.loss:
        raise UserError("DPO changed nothing: the loss is where it started", "Raise dpo.learning_rate or dpo.epochs.")
    metrics = {} if check.loss is None else {"start_loss": check.loss}
    metrics |= {"end_loss": end_loss, "steps": float(last_step)}
    comparisons = {"checkpoints": early_stop.comparisons} if early_stop else {}
    untrained = partial(untrained_model, policy, settings)
    return publish_model(stage, trainer, untrained, folder, counts, metrics, comparisons, last_step)


def _early_stop(stage: Stage, settings: DpoSettings, inputs: DpoInputs, policy: Path) -> EarlyStop | None:
    if settings.early_stop is None:
        return None
    from components.training.dpo.early_stop import EarlyStop, Validation

    prompts = read_records(inputs.seed_data, "validation", Prompt)
    return EarlyStop(Validation(stage, settings.early_stop, prompts, policy, inputs.judge_endpoint), settings)


def preference_rows(pairs: Sequence[Pair], tokenizer: PreTrainedTokenizerBase, max_length: int) -> tuple[Rows, Counts]:
    """Rows in TRL's prompt/chosen/rejected form; a pair with a side that cannot be trained on is dropped."""
    from components.training.trainer import rejection_reason

    rows: Rows = []
    dropped: Counter[str] = Counter()
    for pair in pairs:
        prompt = [{"role": "user", "content": pair.prompt}]
        sides = {"chosen": pair.chosen, "rejected": pair.rejected}
        answers = {side: [{"role": "assistant", "content": text}] for side, text in sides.items()}
        reasons = [rejection_reason(tokenizer, prompt + answer, max_length) for answer in answers.values()]
        if any(reasons):
            dropped[f"pair: {next(filter(None, reasons))}"] += 1
        else:
            rows.append({"prompt": prompt, **answers})
    return rows, Counts(kept={"pairs": len(rows)}, dropped=dict(dropped))


def make_trainer(
    policy: Path, tokenizer: PreTrainedTokenizerBase, rows: Rows, settings: DpoSettings, folder: Path
) -> DPOTrainer:
    """TRL's DPOTrainer. The reference's log-probabilities are computed beforehand from the untrained policy.

    Several ranks compute them in each step instead: TRL keeps those computed beforehand on the disk of one node.
    """
    from datasets import Dataset
    from trl import DPOConfig

    from components.training.model import load_policy, load_reference, lora_config
    from components.training.padding import DistributedDPOTrainer
    from components.training.trainer import trainer_arguments

    arguments = trainer_arguments(settings, folder) | {"loss_type": ["sigmoid"]}
    if settings.nll_weight:
        arguments |= {"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, settings.nll_weight]}
    if settings.early_stop:  # keep those back to the one that training falls back to
        arguments["save_total_limit"] = settings.early_stop.every // settings.checkpoint_every + 1
    reference = load_reference(policy, settings)  # first, so that no process holds both at once
    return DistributedDPOTrainer(
        model=load_policy(policy, settings),
        ref_model=reference,
        args=DPOConfig(
            **arguments,
            beta=settings.beta,
            ld_alpha=settings.ld_alpha,
            precompute_ref_log_probs=world_size() == 1,
            disable_dropout=False,
        ),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        peft_config=lora_config(settings),
    )
