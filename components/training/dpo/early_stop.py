"""Stop DPO when its answers no longer get better (Yuan et al. 2024, section 3.1.3)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peft import PeftModel
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from components.base_model.base_model import load_tokenizer
from components.core.errors import UserError
from components.core.progress import say, warn
from components.core.records import CheckpointComparison, Prompt
from components.core.stage import Stage
from components.judging.judging import TextToJudge, judge_texts, mean_scores
from components.pairs.pairs import SCORE_TOLERANCE
from components.sampling.sampling import answer_prompts
from components.serving.address import Address
from components.serving.embedded.http.server import served_in_process
from components.serving.embedded.model.loading import load
from components.serving.embedded.scheduler.engine import Limits
from components.training.checkpoints import fetch_checkpoint
from components.training.distributed import broadcast, is_main_process
from components.training.dpo.settings import DpoSettings, EarlyStopSettings
from components.training.model import evaluating, is_sharded


def compare_checkpoints(
    step: int, against: int, scores: Mapping[str, float], before: Mapping[str, float], prompts: Sequence[Prompt]
) -> CheckpointComparison:
    """Prompts won, tied and lost by the mean scores of two checkpoints' answers."""
    gaps = [scores[p.id] - before[p.id] for p in prompts if p.id in scores and p.id in before]
    wins, losses = sum(gap > SCORE_TOLERANCE for gap in gaps), sum(gap < -SCORE_TOLERANCE for gap in gaps)
    return CheckpointComparison(
        id=str(step),
        step=step,
        against=against,
        wins=wins,
        ties=len(gaps) - wins - losses,
        losses=losses,
        unscored=len(prompts) - len(gaps),
    )


def no_better(comparison: CheckpointComparison) -> bool:
    """Whether a checkpoint wins no more often than it loses; without a single scored prompt nothing is known."""
    scored = comparison.wins + comparison.ties + comparison.losses
    return scored > 0 and comparison.wins <= comparison.losses


@dataclass(frozen=True)
class Validation:
    """The prompts to answer, the judge, and the stage whose progress holds answers and judgements by id.

    An interrupted training finds its checkpoints' scores there again. `policy` is the folder of Mt; `judge` is None
    where Mt is the judge.
    """

    stage: Stage
    settings: EarlyStopSettings
    prompts: Sequence[Prompt]
    policy: Path
    judge: Address | None

    def scores(self, model: Any, step: int) -> dict[str, float]:
        """Mean score of the model's answer to each prompt, by the prompt's id; unscored ones are absent."""
        with _served(model, self.policy) as endpoint:
            answers = answer_prompts(self.stage, f"answers-{step}", self.prompts, 1, self.settings.answers, endpoint)
        whole = [answer for answer in answers if answer.finish_reason == "stop"]
        texts = [TextToJudge(a.prompt_id, a.prompt_id, a.prompt, a.text) for a in whole]
        judging = self.settings.judging
        with self._judge(model) as endpoint:
            judgements = judge_texts(
                self.stage, f"judgements-{step}", texts, judging, judging.samples, judging.judge_prompt(), endpoint
            )
        return mean_scores(judgements)

    @contextmanager
    def _judge(self, model: Any) -> Iterator[str | Address]:
        if self.judge:
            yield self.judge
        elif isinstance(model, PeftModel):
            with model.disable_adapter(), _served(model, self.policy) as endpoint:
                yield endpoint
        else:
            with _served(load(self.policy).model, self.policy) as endpoint:
                yield endpoint


@contextmanager
def _served(model: Any, folder: Path) -> Iterator[str]:
    base: Any = model.get_base_model() if isinstance(model, PeftModel) else model
    limits = Limits(max_total_tokens=base.config.max_position_embeddings)
    tokenizer: Any = load_tokenizer(folder)
    with evaluating(model), served_in_process(base, tokenizer, limits) as endpoint:
        yield endpoint


class EarlyStop(TrainerCallback):
    """Compares the answers of each `every`-th checkpoint, and of the last one, with those of the one before.

    Training ends at the first that is no better. `kept` is then the step of the one before, unless that is the
    untrained policy: a round makes a new model, and whether it is worth anything is for the gate to say.
    """

    def __init__(self, validation: Validation, settings: DpoSettings) -> None:
        if is_sharded(settings):
            raise UserError(
                "dpo.early_stop lets one process answer with the policy, and with FSDP none has all of its weights",
                "Set dpo.sharding to none (each GPU then holds the whole model), or leave dpo.early_stop out.",
            )
        self.validation = validation
        self.comparisons: list[CheckpointComparison] = []
        self.kept: int | None = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, model: Any = None, **_: Any
    ) -> None:
        """Scores before the first step; after a resume, the comparisons made so far from their kept answers."""
        every = self.validation.settings.every
        self.scores, self.scored_step = broadcast(lambda: self.validation.scores(model, 0)), 0
        for step in range(every, state.global_step + 1, every):
            self._compare(model, step, control)

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, model: Any = None, **_: Any
    ) -> None:
        step = state.global_step
        if step > self.scored_step and (step % self.validation.settings.every == 0 or step >= state.max_steps):
            self._compare(model, step, control)

    def _compare(self, model: Any, step: int, control: TrainerControl) -> None:
        """The main process alone samples and judges; from its scores all decide the same."""
        scores, prompts = broadcast(lambda: self.validation.scores(model, step)), self.validation.prompts
        comparison = compare_checkpoints(step, self.scored_step, scores, self.scores, prompts)
        self.comparisons.append(comparison)
        if is_main_process():
            say(
                f"dpo: step {step} against step {self.scored_step}: {comparison.wins} won, {comparison.ties} tied, "
                f"{comparison.losses} lost, {comparison.unscored} unscored"
            )
            if comparison.unscored == len(prompts):
                warn("dpo: no validation answer could be scored: early stopping saw nothing and training goes on")
        if no_better(comparison):
            control.should_training_stop = True
            self.kept = self.scored_step or step
        self.scores, self.scored_step = scores, step

    def restore(self, trainer: Any) -> int:
        """Put the weights of the kept checkpoint into the trainer's model; returns its step."""
        if self.kept is None:
            return int(trainer.state.global_step)
        if is_main_process():
            say(f"dpo: stopped after step {self.scored_step}, keeping step {self.kept}")
        folder = Path(str(trainer.args.output_dir))
        trainer._load_from_checkpoint(fetch_checkpoint(self.validation.stage, self.kept, folder))
        return self.kept
