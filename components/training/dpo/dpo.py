"""DPO from Mt on its own preference pairs makes M(t+1); the reference policy is Mt (Yuan et al. 2024, section 2.4)."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from components.base_model.base_model import load_tokenizer
from components.base_model.chat import answer_message, thought_form
from components.core.errors import UserError
from components.core.hashing import content_hash
from components.core.ledger import spent
from components.core.model_files import model_folder
from components.core.records import Counts, Manifest, Messages, Pair, Prompt, conversation
from components.core.stage import Stage, parent, read_records
from components.serving.address import JUDGE_KEY, Address
from components.serving.completions import answering_model
from components.training.distributed import local_main_process_first
from components.training.dpo.losses import loss_arguments
from components.training.dpo.settings import DpoSettings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from components.training.batches import DistributedDPOTrainer
    from components.training.dpo.early_stop import EarlyStop
    from components.training.dpo.margins import Sums
    from components.training.dpo.watch import PairWatch

Row = dict[str, Messages]


@dataclass(frozen=True)
class DpoInputs:
    """URIs of Mt, its pairs and the seed data, whose validation prompts are for early stopping.

    `judge_endpoint` is another judge for these, empty where Mt judges; `judge_model` is its name there, and
    `judge_arguments` are its template's, as JSON. `previous` is M(t-1), for dpo.self_consistency.
    """

    model: str
    pairs: str
    seed_data: str = ""
    judge_endpoint: str = ""
    judge_model: str = ""
    judge_arguments: str = ""
    previous: str = ""

    @property
    def judge(self) -> Address | None:
        """Another judge than Mt; its key stays in the environment."""
        if not self.judge_endpoint:
            return None
        arguments = tuple((name, value) for name, value in json.loads(self.judge_arguments or "[]"))
        return Address(self.judge_endpoint, self.judge_model, JUDGE_KEY, template_arguments=arguments)


def dpo_stage(root: str, settings: DpoSettings, inputs: DpoInputs) -> Stage:
    """The stage, finished or in the making.

    The validation prompts and their judge are among its parents only where training may stop early by answers.
    """
    parents = {"model": parent(inputs.model), "pairs": parent(inputs.pairs)}
    if settings.self_consistency:
        parents["previous"] = parent(inputs.previous)
    if settings.judged_answers:
        parents["seed_data"] = parent(inputs.seed_data)
        if inputs.judge:
            parents["judge"] = answering_model("", inputs.judge)
    return Stage(root, "dpo", settings, parents)


def train_dpo(root: str, settings: DpoSettings, inputs: DpoInputs) -> Manifest:
    """The dpo stage; raises UserError when the policy does not start as the reference, or does not move."""
    stage = dpo_stage(root, settings, inputs)
    if stage.manifest:
        return stage.manifest
    with spent("starting"):
        from components.training.trainer import workspace  # a reused stage starts without torch

    with workspace() as folder:
        return _train(root, stage, settings, inputs, folder)


def _train(root: str, stage: Stage, settings: DpoSettings, inputs: DpoInputs, folder: Path) -> Manifest:
    from components.metrics.bootstrap import Resampling
    from components.metrics.observations import figures, observations

    with spent("starting"):
        from components.training.dpo.reference import keep_reference, kept_reference, reference_stage
        from components.training.dpo.watch import PairWatch
        from components.training.model import untrained_model
        from components.training.saving import save_trained
        from components.training.trainer import publish_model, require_examples, train

    policy = local_main_process_first(lambda: model_folder(inputs.model))
    tokenizer = load_tokenizer(policy)
    usable, counts = usable_pairs(read_records(inputs.pairs, "pairs", Pair), tokenizer, settings.max_length)
    pairs, held_out = split_held_out(usable, settings)
    require_examples(len(pairs), counts, "Raise dpo.max_length.")
    table = reference_stage(root, settings, inputs.model, inputs.pairs)
    reference = kept_reference(table)
    trainer = make_trainer(policy, tokenizer, pairs, settings, folder, held_out, reference)
    if reference is None:
        keep_reference(table, trainer, pairs, held_out, counts)
    if settings.self_consistency:
        pairs = _consistent(trainer, settings, pairs, policy, inputs.previous, counts)
    counts.kept = {"pairs": len(pairs), "held_out": len(held_out)}
    watch = PairWatch(trainer, settings, held_out)
    early_stop = _early_stop(stage, settings, inputs, policy, watch)
    for callback in filter(None, (watch, early_stop)):  # it looks at what the watch has measured
        trainer.add_callback(callback)
    looks = settings.early_stop.every if settings.early_stop else None
    train(trainer, stage, f"DPO on {len(pairs)} pairs (steps)", looks)
    last_step = early_stop.restore(trainer) if early_stop else trainer.state.global_step
    saved = save_trained(trainer, partial(untrained_model, policy, settings), policy, settings, folder / "model")
    metrics, observed = watch.saved_figures(saved, policy)
    metrics |= {"steps": float(last_step), **figures(observed, Resampling(seed=settings.seed))}
    records = {"observations": observations(observed)} | ({"checkpoints": early_stop.comparisons} if early_stop else {})
    return publish_model(stage, trainer, saved, counts, metrics, records, last_step)


def _consistent(
    trainer: DistributedDPOTrainer,
    settings: DpoSettings,
    pairs: Sequence[Pair],
    policy: Path,
    previous: str,
    counts: Counts,
) -> list[Pair]:
    """Held-out pairs all stay: what is measured on them is comparable with other methods'."""
    from components.training.dpo.self_consistency import keep_consistent
    from components.training.trainer import require_examples

    earlier = local_main_process_first(lambda: model_folder(previous))
    kept = keep_consistent(trainer, settings, pairs, policy, earlier)
    counts.dropped["pair: its implicit reward disagrees"] = len(pairs) - len(kept)
    require_examples(len(kept), counts, "Set dpo.self_consistency to false, or judge more often (judging.samples).")
    return kept


def _early_stop(
    stage: Stage, settings: DpoSettings, inputs: DpoInputs, policy: Path, watch: PairWatch
) -> EarlyStop | None:
    """None where training goes on to its end; raises UserError where there is nothing to look at."""
    from components.training.dpo.early_stop import EarlyStop

    if settings.judged_answers:
        from components.training.dpo.answers import JudgedAnswers

        stop, prompts = settings.judged_answers, read_records(inputs.seed_data, "validation", Prompt)
        answers = JudgedAnswers(stage, settings, stop, prompts, policy, inputs.judge, watch.trainer)
        return EarlyStop(stage, stop, prompts, answers.scores)
    if settings.early_stop and not watch.held_out:
        raise UserError(
            "dpo.early_stop.by pairs compares losses on held-out pairs, and there are too few pairs to hold one out",
            "Make more pairs (prompts.count, sampling.candidates), or set dpo.early_stop to null.",
        )
    return EarlyStop(stage, settings.early_stop, watch.held_out, watch.losses) if settings.early_stop else None


def usable_pairs(
    pairs: Sequence[Pair], tokenizer: PreTrainedTokenizerBase, max_length: int
) -> tuple[list[Pair], Counts]:
    """Pairs without those that have a side which cannot be trained on."""
    from components.training.trainer import rejection_reason

    form = form_of_thoughts(pairs, tokenizer)
    usable: list[Pair] = []
    dropped: Counter[str] = Counter()
    for pair in pairs:
        row = preference_row(pair, form)
        reasons = [
            rejection_reason(tokenizer, row["prompt"] + row[side], max_length) for side in ("chosen", "rejected")
        ]
        if any(reasons):
            dropped[f"pair: {next(filter(None, reasons))}"] += 1
        else:
            usable.append(pair)
    return usable, Counts(kept={"pairs": len(usable)}, dropped=dict(dropped))


def split_held_out(pairs: Sequence[Pair], settings: DpoSettings) -> tuple[list[Pair], list[Pair]]:
    """Pairs to train on and pairs to watch, each in their order.

    Which ones depends on their ids alone, so that trainings with another seed can be compared on the same.
    """
    wanted = max(math.ceil(settings.held_out * len(pairs)), settings.min_held_out) if settings.held_out else 0
    by_hash = sorted(pairs, key=lambda pair: content_hash(pair.id))
    watched = {pair.id for pair in by_hash[: min(wanted, len(pairs) // 2)]}
    return [pair for pair in pairs if pair.id not in watched], [pair for pair in pairs if pair.id in watched]


def form_of_thoughts(pairs: Sequence[Pair], tokenizer: PreTrainedTokenizerBase) -> str:
    """Where these pairs' thoughts go in training text, "" where they have none.

    Raises UserError where the template has no place for them.
    """
    if not any(pair.chosen_reasoning or pair.rejected_reasoning for pair in pairs):
        return ""
    if form := thought_form(tokenizer):
        return form
    raise UserError(
        "the pairs have thoughts, and the model's chat template has no place for them",
        "Set sampling.reasoning to strip, or give one that shows message.reasoning_content (model.chat_template).",
    )


def preference_row(pair: Pair, form: str = "") -> Row:
    """In TRL's prompt/chosen/rejected form; with a `form` the thoughts stand before the answers."""
    return {
        "prompt": conversation(pair.history, pair.prompt),
        "chosen": [answer_message(pair.chosen, pair.chosen_reasoning, form)],
        "rejected": [answer_message(pair.rejected, pair.rejected_reasoning, form)],
    }


def make_trainer(
    policy: Path,
    tokenizer: PreTrainedTokenizerBase,
    pairs: Sequence[Pair],
    settings: DpoSettings,
    folder: Path,
    held_out: Sequence[Pair] = (),
    reference: Mapping[str, Sums] | None = None,
) -> DistributedDPOTrainer:
    """TRL's DPOTrainer, with the held-out pairs as its `eval_dataset`, and in its datasets what the `reference` says of
    each pair, by the pair's id: without it, the reference is asked here, before there is any training.
    """
    from datasets import Dataset
    from trl import DPOConfig

    from components.training.batches import DistributedDPOTrainer
    from components.training.dpo.margins import REFERENCE
    from components.training.dpo.reference import ask_reference
    from components.training.model import load_policy, load_reference, lora_config
    from components.training.trainer import held_at_once, trainer_arguments

    held = held_at_once(policy, settings, pairs=True)
    arguments = trainer_arguments(settings, held, folder) | loss_arguments(settings, pairs)
    form = form_of_thoughts([*pairs, *held_out], tokenizer)

    def rows(of: Sequence[Pair]) -> Dataset:
        known = [dict(zip(REFERENCE, reference[pair.id], strict=True)) if reference else {} for pair in of]
        return Dataset.from_list([preference_row(pair, form) | one for pair, one in zip(of, known, strict=True)])

    ref_model = load_reference(policy, settings, asked=reference is None)  # first: no process is to hold both at once
    trainer = DistributedDPOTrainer(
        held=held,
        model=load_policy(policy, settings),
        ref_model=ref_model,
        args=DPOConfig(
            **arguments,
            beta=settings.beta,
            ld_alpha=settings.ld_alpha,
            precompute_ref_log_probs=True,
            disable_dropout=False,
        ),
        train_dataset=rows(pairs),
        eval_dataset=rows(held_out) if held_out else None,
        processing_class=tokenizer,
        peft_config=lora_config(settings),
    )
    ask_reference(trainer)
    return trainer
