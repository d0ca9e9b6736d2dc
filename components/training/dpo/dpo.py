"""DPO from Mt on its own preference pairs makes M(t+1); the reference policy is Mt (Yuan et al. 2024, section 2.4)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.core.errors import UserError
from components.core.model_files import model_folder
from components.core.records import Counts, Manifest, Messages, Pair, Parent, Prompt
from components.core.stage import Stage, parent, read_records
from components.serving.client import endpoint_identity
from components.training.dpo.settings import DpoSettings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase
    from trl import DPOTrainer

    from components.training.dpo.early_stop import EarlyStop

Rows = list[dict[str, Messages]]


@dataclass(frozen=True)
class DpoInputs:
    """URIs of Mt, its pairs and the seed data, whose validation prompts early stopping looks at.

    `judge_endpoint` is another judge for these, empty where Mt judges.
    """

    model: str
    pairs: str
    seed_data: str = ""
    judge_endpoint: str = ""

    def parents(self, settings: DpoSettings) -> dict[str, Parent]:
        """What decides the content: the validation prompts and their judge count only where training may stop early."""
        parents = {"model": parent(self.model), "pairs": parent(self.pairs)}
        if settings.early_stop:
            parents["seed_data"] = parent(self.seed_data)
            if self.judge_endpoint:
                parents["judge"] = Parent(uri=self.judge_endpoint, digest=endpoint_identity(self.judge_endpoint))
        return parents


def dpo_stage(root: str, settings: DpoSettings, inputs: DpoInputs) -> Stage:
    """The stage, finished or in the making."""
    return Stage(root, "dpo", settings, inputs.parents(settings))


def train_dpo(root: str, settings: DpoSettings, inputs: DpoInputs) -> Manifest:
    """The dpo stage; raises UserError when the policy does not start as the reference, or does not move."""
    stage = dpo_stage(root, settings, inputs)
    if stage.manifest:
        return stage.manifest
    from components.training.trainer import workspace  # a reused stage starts without torch

    with workspace() as folder:
        return _train(stage, settings, inputs, folder)


def _train(stage: Stage, settings: DpoSettings, inputs: DpoInputs, folder: Path) -> Manifest:
    from components.training.dpo.start import Start, first_batch_loss
    from components.training.model import load_tokenizer, untrained_model
    from components.training.ranks import once_on_each_node
    from components.training.trainer import need_examples, publish_model, train

    policy = once_on_each_node(lambda: model_folder(inputs.model))
    tokenizer = load_tokenizer(policy)
    rows, counts = preference_rows(read_records(inputs.pairs, "pairs", Pair), tokenizer, settings.max_length)
    need_examples(len(rows), counts, "Raise dpo.max_length.")
    trainer = make_trainer(policy, tokenizer, rows, settings, folder)
    early_stop = _early_stop(stage, settings, inputs, policy)
    start = Start(trainer)
    for callback in filter(None, (start, early_stop)):
        trainer.add_callback(callback)
    train(trainer, stage, f"DPO on {len(rows)} pairs (steps)")
    kept = early_stop.restore(trainer) if early_stop else trainer.state.global_step
    end = first_batch_loss(trainer)
    if end == start.loss:
        raise UserError("DPO changed nothing: the loss is where it started", "Raise dpo.learning_rate or dpo.epochs.")
    metrics = {**start.metrics(), "end_loss": end, "steps": float(kept)}
    comparisons = {"checkpoints": early_stop.comparisons} if early_stop else {}
    untrained = partial(untrained_model, policy, settings)
    return publish_model(stage, trainer, untrained, tokenizer, folder, counts, metrics, comparisons, last_step=kept)


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

    from components.training.epochs import DpoRanks
    from components.training.model import load_policy, load_reference, lora_config
    from components.training.ranks import world_size
    from components.training.trainer import trainer_arguments

    reference = load_reference(policy, settings)  # first, so that no process holds both at once
    return DpoRanks(
        model=load_policy(policy, settings),
        ref_model=reference,
        args=DPOConfig(
            **(trainer_arguments(settings, folder) | _kept_checkpoints(settings)),
            **_loss(settings),
            beta=settings.beta,
            ld_alpha=settings.ld_alpha,
            precompute_ref_log_probs=world_size() == 1,
            disable_dropout=False,
        ),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        peft_config=lora_config(settings),
    )


def _kept_checkpoints(settings: DpoSettings) -> dict[str, int]:
    """Those back to the one that training falls back to when it stops early."""
    stop = settings.early_stop
    return {"save_total_limit": stop.every // settings.checkpoint_every + 1} if stop else {}


def _loss(settings: DpoSettings) -> dict[str, Any]:
    if settings.nll_weight == 0:
        return {"loss_type": ["sigmoid"]}
    return {"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, settings.nll_weight]}
