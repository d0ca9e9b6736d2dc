"""What early stopping looks at in the paper: the policy's answers to validation prompts, scored by a judge."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import Trainer

from components.base_model.base_model import load_tokenizer
from components.core.errors import UserError
from components.core.records import Candidate, Prompt
from components.core.stage import Stage
from components.judging.judging import TextToJudge, judgements_of, mean_scores
from components.judging.prompt import transcript
from components.sampling.sampling import answers_to
from components.serving.address import Address
from components.serving.completions import complete
from components.serving.embedded.http.server import served_in_process
from components.serving.embedded.model.loading import load
from components.serving.embedded.scheduler.engine import Limits
from components.training.distributed import broadcast
from components.training.dpo.settings import DpoSettings, EarlyStopSettings
from components.training.model import evaluating, untrained_model, whole_model
from components.training.saving import merged


@dataclass(frozen=True)
class JudgedAnswers:
    """The prompts to answer, the judge, and the stage whose progress holds answers and judgements by id.

    An interrupted look goes on from there. `policy` is the folder of Mt; `judge` is None where Mt is the judge.
    """

    stage: Stage
    settings: DpoSettings
    stop: EarlyStopSettings
    prompts: Sequence[Prompt]
    policy: Path
    judge: Address | None
    trainer: Trainer

    def scores(self, step: int) -> dict[str, float]:
        """Mean score of the policy's answer to each prompt, by the prompt's id; unscored ones are absent.

        Every process takes part and gets them; the main one answers and judges, and the others wait. Raises UserError
        where its GPU does not hold what is served there.
        """
        try:
            answers = self._answers(step)
            return broadcast(lambda: self._judged(answers, step))
        except torch.OutOfMemoryError as error:
            raise UserError(
                f"the GPU of the main process does not hold a whole model beside its part of the training ({error})",
                "Set dpo.early_stop.by to pairs, which asks no model, or take larger GPUs.",
            ) from error

    def _answers(self, step: int) -> list[Candidate]:
        """In the main process. Sharded weights are gathered into a copy, which is given up when all have answered."""
        with torch.random.fork_rng(devices=[]):  # an adapter draws its first weights when the copy is made
            model: Any = whole_model(self.trainer, partial(untrained_model, self.policy, self.settings))
        if model is None:
            return []
        if self.trainer.is_fsdp_enabled:
            dtype = torch.bfloat16 if torch.cuda.is_available() else torch.float32  # as the engine serves a folder
            model = merged(model).to(device=self.trainer.args.device, dtype=dtype)  # type: ignore[call-arg]
        with _served(model, self.policy) as endpoint:
            asked = answers_to(f"answers-{step}", self.prompts, 1, self.stop.answers)
            return list(complete(self.stage, endpoint, asked))

    def _judged(self, answers: Sequence[Candidate], step: int) -> dict[str, float]:
        whole = [answer for answer in answers if answer.finish_reason == "stop"]
        texts = [TextToJudge(a.prompt_id, a.prompt_id, transcript(a.history, a.prompt), a.text) for a in whole]
        judging = self.stop.judging
        asked = judgements_of(texts, judging, judging.samples, judging.judge_prompt(), kind=f"judgements-{step}")
        with self._judge() as endpoint:
            return mean_scores(complete(self.stage, endpoint, asked))

    @contextmanager
    def _judge(self) -> Iterator[str | Address]:
        """Mt is the policy without its adapter where one process has that, else loaded from its folder."""
        policy: Any = self.trainer.accelerator.unwrap_model(self.trainer.model)
        if self.judge:
            yield self.judge
        elif isinstance(policy, PeftModel) and not self.trainer.is_fsdp_enabled:
            with policy.disable_adapter(), _served(policy, self.policy) as endpoint:
                yield endpoint
        else:
            gc.collect()  # the copy that has answered: there need not be room for both
            torch.cuda.empty_cache()
            with _served(load(self.policy).model, self.policy) as endpoint:
                yield endpoint


@contextmanager
def _served(model: Any, folder: Path) -> Iterator[str]:
    base: Any = model.get_base_model() if isinstance(model, PeftModel) else model
    limits = Limits(max_total_tokens=base.config.max_position_embeddings)
    tokenizer: Any = load_tokenizer(folder)
    with evaluating(model), served_in_process(base, tokenizer, limits) as endpoint:
        yield endpoint
