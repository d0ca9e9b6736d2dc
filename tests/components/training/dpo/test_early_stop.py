"""DPO stops when its answers, or its losses on held-out pairs, get no better, and keeps the checkpoint before."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from components.base_model.base_model import import_model
from components.base_model.settings import BaseModelSettings
from components.core.errors import UserError
from components.core.records import Candidate, CheckpointComparison, Counts, CurvePoint, Manifest, Pair, Parent, Prompt
from components.core.stage import Stage, read_records
from components.core.store import join
from components.judging.settings import JudgingSettings
from components.pairs.settings import PairsSettings
from components.seed_data.settings import SeedDataSettings
from components.serving.completions import Batch
from components.serving.settings import Generation
from components.training.checkpoints import CheckpointUploader
from components.training.dpo.dpo import DpoInputs, dpo_stage, train_dpo
from components.training.dpo.early_stop import EarlyStop, compare_checkpoints, compare_losses, no_better
from components.training.dpo.settings import DpoSettings, EarlyStopSettings
from components.training.settings import LoraSettings
from tests.helpers.mixed_pairs import HELD_OUT, mixed_pairs
from tests.helpers.scripted_endpoint import Script, said
from tests.helpers.tiny_model import make_tiny_model

pytestmark = pytest.mark.slow
PROMPTS = [Prompt(id=str(n), text=f"add {n}") for n in range(4)]
Serve = Callable[[Script], str]


def test_a_comparison_counts_prompts_by_hand() -> None:
    """Scores 5 4 3 and none against 3 4 5 2: one won, one tied, one lost, one unscored; a draw is no better."""
    now, before = {"0": 5.0, "1": 4.0, "2": 3.0}, {"0": 3.0, "1": 4.0, "2": 5.0, "3": 2.0}
    found = compare_checkpoints(4, 2, now, before, PROMPTS)
    assert (found.wins, found.ties, found.losses, found.unscored) == (1, 1, 1, 1)
    assert no_better(found)
    assert not no_better(found.model_copy(update={"losses": 0}))
    assert not no_better(compare_checkpoints(4, 2, {}, before, PROMPTS))  # nothing is known


def settings(**changes: Any) -> DpoSettings:
    """18 steps: 12 pairs in batches of 4, six times."""
    draw = {"max_tokens": 8, "concurrency": 1}  # one at a time: a text then depends on nothing but its seed
    stop = EarlyStopSettings(
        every=4,
        answers=Generation(**draw),
        judging=JudgingSettings(prompt="{instruction} -> {response} ?", samples=1, **draw),
    )
    values = {"learning_rate": 1e-3, "min_learning_rate": 1e-4, "epochs": 6, "batch_size": 4, "micro_batch_size": 2}
    values |= {"max_length": 96, "checkpoint_every": 2, "lora": LoraSettings(rank=4, alpha=8), "early_stop": stop}
    values |= {"held_out": 0, "precision": "fp32"}
    return DpoSettings(**(values | changes))


class Inputs:
    """Mt, pairs and validation prompts in a store of their own."""

    def __init__(self, root: Path) -> None:
        self.root = str(root / "store")
        manifest = import_model(self.root, BaseModelSettings(base=str(make_tiny_model(root / "model"))))
        self.model = join(self.root, manifest.stage, manifest.key)
        scores = {"chosen_id": "a", "rejected_id": "b", "chosen_score": 5, "rejected_score": 1}
        pairs = [Pair(id=str(n), prompt=f"add {n}", chosen=f"{n}", rejected=f"no {n}", **scores) for n in range(12)]
        self.pairs = self._publish("pairs", PairsSettings(), {"pairs": pairs})
        self.seeds = self._publish("seed_data", SeedDataSettings(messages="toy"), {"validation": PROMPTS})

    def _publish(self, name: str, settings: Any, records: Any) -> str:
        stage = Stage(self.root, name, settings, {"toy": Parent(uri="toy", digest="toy")})
        stage.publish(Counts(), records)
        return stage.uri

    def train_dpo(self, settings: DpoSettings, judge: str = "") -> Manifest:
        return train_dpo(self.root, settings, DpoInputs(self.model, self.pairs, self.seeds, judge))

    def comparisons(self, manifest: Manifest) -> list[CheckpointComparison]:
        return read_records(join(self.root, "dpo", manifest.key), "checkpoints", CheckpointComparison)


@pytest.fixture
def inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Inputs:
    monkeypatch.setenv("SRLM_HOME", str(tmp_path / "home"))
    return Inputs(tmp_path)


def judge_of_looks(scores: list[int], answered: int = 0) -> Script:
    """Gives every answer of the n-th look (4 prompts each) the n-th score; so many were answered by another before."""
    return Script(lambda number, _: said(f"Score: {scores[(answered + number - 1) // len(PROMPTS)]}"))


# An untrained model seldom ends an answer by itself; a long limit would cost time, so cut answers count here too.
@pytest.fixture
def whole_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    import components.training.dpo.answers as module

    real = module.answers_to

    def answers_to(*asked: Any) -> Batch[Candidate]:
        batch = real(*asked)
        return replace(batch, make=lambda q, made: batch.make(q, replace(made, finish_reason="stop")))

    monkeypatch.setattr(module, "answers_to", answers_to)


@pytest.mark.parametrize("lora", [LoraSettings(rank=4, alpha=8), None], ids=["lora", "full"])
def test_it_stops_at_the_first_that_is_no_better_and_keeps_the_one_before(
    inputs: Inputs, serve: Serve, whole_answers: None, lora: LoraSettings | None
) -> None:
    """Scores 1 (untrained), 3 (step 4), 4 (step 8), 2 (step 12): it ends at 12 with the weights of 8.

    They are the weights of a training that has the same schedule and was stopped at step 8 for another reason.
    """
    made = inputs.train_dpo(settings(lora=lora), serve(judge_of_looks([1, 3, 4, 2])))
    assert [(c.step, c.against, c.wins, c.losses) for c in inputs.comparisons(made)] == [
        (4, 0, 4, 0),
        (8, 4, 4, 0),
        (12, 8, 0, 4),
    ]
    assert made.metrics["steps"] == 8
    curve = read_records(join(inputs.root, "dpo", made.key), "curve", CurvePoint)
    assert [point.step for point in curve] == list(range(1, 9))
    other = inputs.train_dpo(settings(lora=lora), serve(judge_of_looks([1, 3, 5, 5])))  # a tie is no better
    assert other.metrics["steps"] == 8
    assert weight_files(other) == weight_files(made)


@pytest.mark.parametrize("lora", [LoraSettings(rank=4, alpha=8), None], ids=["lora", "full"])
def test_a_policy_that_trains_in_bf16_answers(inputs: Inputs, lora: LoraSettings | None) -> None:
    """As on a GPU by default: the weights are fp32, or an adapter's over bf16, and the passes of training bf16."""
    made = inputs.train_dpo(settings(lora=lora, precision="bf16", max_steps=4))
    assert [c.step for c in inputs.comparisons(made)] == [4]


def weight_files(manifest: Manifest) -> set[str]:
    return {file.sha256 for name, file in manifest.files.items() if name.endswith(".safetensors")}


def test_it_trains_to_the_end_while_answers_get_better(inputs: Inputs, serve: Serve, whole_answers: None) -> None:
    """18 steps, looked at every 4 and at the end."""
    made = inputs.train_dpo(settings(), serve(judge_of_looks([0, 1, 2, 3, 4, 5])))
    assert [c.step for c in inputs.comparisons(made)] == [4, 8, 12, 16, 18]
    assert made.metrics["steps"] == 18


def test_a_first_look_that_is_worse_keeps_that_checkpoint(inputs: Inputs, serve: Serve, whole_answers: None) -> None:
    """There is no trained one before it; whether the round was worth anything is the gate's question."""
    made = inputs.train_dpo(settings(), serve(judge_of_looks([5, 1])))
    assert made.metrics["steps"] == 4


def test_looking_does_not_change_the_training(inputs: Inputs, serve: Serve, whole_answers: None) -> None:
    """With or without looks (dropout on) the same weights come out: sampling takes no random number from training."""
    looked = inputs.train_dpo(settings(), serve(judge_of_looks([0, 1, 2, 3, 4, 5])))
    plain = inputs.train_dpo(settings(early_stop=None))
    assert weight_files(looked) == weight_files(plain)


def test_a_judge_that_gives_no_score_stops_nothing(inputs: Inputs) -> None:
    """Mt, random as it is, judges here: no judgement parses, so nothing is known and training goes on to its end."""
    made = inputs.train_dpo(settings())
    assert made.metrics["steps"] == 18
    assert {c.unscored for c in inputs.comparisons(made)} == {4}


@pytest.mark.parametrize("killed_at", [2, 6, 9], ids=["before training", "in step 4's look", "in step 8's look"])
def test_a_killed_training_finds_its_looks_again(
    inputs: Inputs, tmp_path: Path, serve: Serve, whole_answers: None, killed_at: int
) -> None:
    """The judge dies at the n-th question; what it answered before is kept, and the run that goes on ends the same."""
    scores = [1, 3, 4, 2]

    def dying(number: int, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        return (400, {"error": "power cut"}) if number >= killed_at else judge_of_looks(scores).answer(number, body)

    undisturbed = inputs.train_dpo(settings(), serve(judge_of_looks(scores)))
    other = Inputs(tmp_path / "other")
    with pytest.raises(UserError, match="power cut"):
        other.train_dpo(settings(), serve(Script(dying)))
    resumed = other.train_dpo(settings(), serve(judge_of_looks(scores, answered=killed_at - 1)))
    assert resumed.digest == undisturbed.digest


def test_losses_are_compared_by_their_mean() -> None:
    """Losses .1 .1 .1 1.0 after .2 .2 .2 .4: three of four pairs won, and the mean rose from .25 to .325."""
    before, now = (dict(zip("0123", losses, strict=True)) for losses in ([0.2, 0.2, 0.2, 0.4], [0.1, 0.1, 0.1, 1.0]))
    found = compare_losses(8, 4, now, before, PROMPTS)
    assert (found.wins, found.ties, found.losses, found.unscored) == (3, 0, 1, 0)
    assert (found.loss, found.loss_before) == (pytest.approx(0.325), pytest.approx(0.25))
    assert no_better(found)
    assert no_better(compare_losses(8, 4, before, before, PROMPTS))  # as good is no better
    assert not no_better(compare_losses(8, 4, before, now, PROMPTS))


def by_pairs(**changes: Any) -> DpoSettings:
    """At most 12 steps, looked at every 2, of one learning rate: a training that ends earlier then has the same steps.

    The rate is such that the loss turns after some looks: all weights move the margin ten times as fast as an adapter.
    """
    rate = 3e-4 if changes.get("lora", True) else 3e-5
    stop = EarlyStopSettings(by="pairs", every=2)
    values = {"early_stop": stop, "held_out": 0.25, "min_held_out": HELD_OUT, "epochs": 4, "beta": 0.5}
    return settings(**(values | {"learning_rate": rate, "min_learning_rate": rate} | changes))


def with_mixed_pairs(inputs: Inputs) -> Inputs:
    inputs.pairs = inputs._publish("pairs", PairsSettings(seed=1), {"pairs": mixed_pairs()})
    return inputs


@pytest.mark.parametrize("lora", [LoraSettings(rank=4, alpha=8), None], ids=["lora", "full"])
def test_by_pairs_it_keeps_the_last_that_was_better(inputs: Inputs, lora: LoraSettings | None) -> None:
    """The training that goes on says at which look the loss is first no lower (see `mixed_pairs`).

    What is kept are the weights of a training that made no more steps, and its figures are those of that look.
    """
    with_mixed_pairs(inputs)
    to_the_end = inputs.train_dpo(by_pairs(lora=lora, early_stop=None))
    curve = read_records(join(inputs.root, "dpo", to_the_end.key), "curve", CurvePoint)
    losses = [(0, math.log(2))] + [(p.step, p.values["held_out/loss"]) for p in curve if p.step % 2 == 0]
    place = next(n for n in range(1, len(losses)) if losses[n][1] >= losses[n - 1][1])
    assert 2 <= place < len(losses) - 1  # it falls first, and there are steps that are not made

    made = inputs.train_dpo(by_pairs(lora=lora))
    compared = inputs.comparisons(made)
    assert [(c.step, c.against) for c in compared] == [(2 * n, 2 * n - 2) for n in range(1, place + 1)]
    assert [c.loss for c in compared] == pytest.approx([loss for _, loss in losses[1 : place + 1]], abs=1e-6)
    assert [c.loss_before for c in compared] == pytest.approx([loss for _, loss in losses[:place]], abs=1e-6)
    assert {c.wins + c.ties + c.losses for c in compared} == {HELD_OUT}
    assert made.metrics["steps"] == 2 * place - 2
    assert made.metrics["held_out_loss"] == pytest.approx(losses[place - 1][1], abs=1e-5)
    shorter = inputs.train_dpo(by_pairs(lora=lora, early_stop=None, max_steps=2 * place - 2))
    assert weight_files(made) == weight_files(shorter) != weight_files(to_the_end)


@pytest.mark.parametrize("where", ["copying the second look", "before the kept weights come back"])
def test_by_pairs_a_killed_training_ends_the_same(
    inputs: Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """Where it goes on there are no weights of the earlier looks any more, but what was found with them."""
    undisturbed = with_mixed_pairs(inputs).train_dpo(by_pairs())
    other, copy = with_mixed_pairs(Inputs(tmp_path / "other")), CheckpointUploader.on_save

    def dying_copy(self: Any, args: Any, state: Any, *rest: Any, **more: Any) -> None:
        if state.global_step >= 4:
            raise UserError("power cut", "")
        copy(self, args, state, *rest, **more)

    def dying_restore(*_: Any) -> None:
        raise UserError("power cut", "")

    with monkeypatch.context() as patch:
        if where == "copying the second look":
            patch.setattr(CheckpointUploader, "on_save", dying_copy)
        else:
            patch.setattr(EarlyStop, "restore", dying_restore)
        with pytest.raises(UserError, match="power cut"):
            other.train_dpo(by_pairs())
    assert other.train_dpo(by_pairs()).digest == undisturbed.digest


def test_what_cannot_be_looked_at_is_told_before_the_first_step(
    inputs: Inputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A GPU that is too small for a whole model, and a round whose one pair is trained on."""
    import components.training.dpo.answers as module

    def full(*_: Any) -> None:
        raise torch.OutOfMemoryError("tried to allocate 138 GB")

    monkeypatch.setattr(module, "whole_model", full)
    with pytest.raises(UserError, match=r"does not hold a whole model.*138 GB") as caught:
        inputs.train_dpo(settings())
    assert "dpo.early_stop.by to pairs" in caught.value.remedy
    inputs.pairs = inputs._publish("pairs", PairsSettings(seed=2), {"pairs": mixed_pairs()[:1]})
    with pytest.raises(UserError, match="too few pairs to hold one out"):
        inputs.train_dpo(by_pairs())


def test_by_pairs_nobody_is_asked(inputs: Inputs) -> None:
    """How others answer and judge is no part of the key then, nor are the seed data: the same stage is found."""
    made = with_mixed_pairs(inputs).train_dpo(by_pairs())
    assert set(made.parents) == {"model", "pairs"}
    stop = EarlyStopSettings(by="pairs", every=2, judging=JudgingSettings(samples=7), answers=Generation(max_tokens=9))
    assert dpo_stage(inputs.root, by_pairs(early_stop=stop), DpoInputs(inputs.model, inputs.pairs)).key == made.key
    more = EarlyStopSettings(by="answers", every=2, judging=JudgingSettings(samples=7))
    assert by_pairs(early_stop=more).identity() != by_pairs(early_stop=more.model_copy(update={"every": 4})).identity()
    with pytest.raises(ValidationError, match="set held_out above 0"):
        by_pairs(held_out=0)
