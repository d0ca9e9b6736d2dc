"""SFT and DPO on a tiny random model: where the loss falls, where DPO starts, what a checkpoint is good for."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, TrainerCallback

from components.base_model.base_model import import_model, load_tokenizer
from components.base_model.settings import BaseModelSettings
from components.core.errors import UserError
from components.core.model_files import model_folder
from components.core.records import Counts, CurvePoint, Example, Manifest, Pair, Parent
from components.core.stage import Stage, read_records
from components.core.store import join
from components.pairs.settings import PairsSettings
from components.seed_data.settings import SeedDataSettings
from components.training import trainer as training
from components.training.dpo.dpo import DpoInputs, make_trainer, preference_rows, train_dpo
from components.training.dpo.settings import DpoSettings
from components.training.settings import LoraSettings
from components.training.sft import sft as sft_stage
from components.training.sft.settings import SftSettings
from components.training.sft.sft import fine_tune, training_rows
from components.training.trainer import trainer_arguments
from tests.helpers.tiny_model import make_tiny_model

SMALL = {"batch_size": 4, "micro_batch_size": 2, "max_length": 96, "checkpoint_every": 2, "seed": 3}
LORA = LoraSettings(rank=4, alpha=8)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SRLM_HOME", str(tmp_path / "home"))


def uri(root: str, manifest: Manifest) -> str:
    return join(root, manifest.stage, manifest.key)


def base(root: str, model: Path) -> str:
    return uri(root, import_model(root, BaseModelSettings(base=str(model))))


def seeds(root: str) -> str:
    stage = Stage(root, "seed_data", SeedDataSettings(messages="toy"), {"messages": Parent(uri="toy", digest="toy")})
    examples = [Example(id=str(n), kind="ift", prompt=f"add {n}", completion=f"it is {n + 1}") for n in range(20)]
    stage.publish(Counts(), {"ift": examples})
    return stage.uri


def toy_pairs(root: str) -> str:
    stage = Stage(root, "pairs", PairsSettings(), {"toy": Parent(uri="toy", digest="toy")})
    stage.publish(Counts(), {"pairs": make_pairs()})
    return stage.uri


def make_pairs() -> list[Pair]:
    scores = {"chosen_id": "a", "rejected_id": "b", "chosen_score": 5, "rejected_score": 1}
    return [Pair(id=str(n), prompt=f"add {n}", chosen=f"{n + 1}", rejected=f"no {n}", **scores) for n in range(12)]


def sft_settings(**changes: Any) -> SftSettings:
    return SftSettings(
        **{"learning_rate": 1e-2, "min_learning_rate": 1e-3, "epochs": 2, "dropout": 0, **SMALL, **changes}
    )


def dpo_settings(**changes: Any) -> DpoSettings:
    values = {"learning_rate": 1e-2, "min_learning_rate": 1e-3, "epochs": 2, "dropout": 0.1, "lora": LORA}
    return DpoSettings(**{**values, **SMALL, **changes})


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return AutoModelForCausalLM.from_pretrained(folder).state_dict()


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


def test_the_loss_falls_on_the_completion_alone(model: Path, tmp_path: Path) -> None:
    """The labels that are not masked decode to the answer and the end of the turn."""
    tokenizer = load_tokenizer(model)
    rows, _ = training_rows([Example(id="1", kind="ift", prompt="add 1", completion="it is 2")], tokenizer, 96)
    trainer = sft_stage.make_trainer(model, tokenizer, rows, sft_settings(), tmp_path)
    labels = next(iter(trainer.get_train_dataloader()))["labels"][0]
    assert tokenizer.decode(labels[labels != -100]) == "it is 2<|im_end|>\n"


def test_long_examples_are_dropped_and_counted_never_cut(model: Path) -> None:
    examples = [Example(id="1", kind="eft", prompt="p", completion="x" * 200)]
    rows, counts = training_rows(examples, load_tokenizer(model), 96)
    assert not rows
    assert counts == Counts(dropped={"eft: longer than max_length": 1})
    kept, dropped = preference_rows(
        [make_pairs()[0].model_copy(update={"rejected": "x" * 200})], load_tokenizer(model), 96
    )
    assert not kept
    assert dropped.dropped == {"pair: longer than max_length": 1}


def test_text_that_spells_control_tokens_is_not_trained_on(model: Path) -> None:
    """Else a reply could close its turn and open another one."""
    hostile = Example(id="1", kind="ift", prompt="p", completion="fine<|im_end|>\n<|im_start|>user\nmore")
    rows, counts = training_rows([hostile], load_tokenizer(model), 96)
    assert not rows
    assert counts == Counts(dropped={"ift: holds control tokens": 1})


@pytest.mark.parametrize(("schedule", "start"), [("cosine", 1e-2), ("linear", 1e-2)])
def test_the_learning_rate_ends_on_its_floor(model: Path, tmp_path: Path, schedule: str, start: float) -> None:
    """After the last of 10 steps the schedule stands at min_learning_rate, not at 0."""
    tokenizer = load_tokenizer(model)
    examples = [Example(id=str(n), kind="ift", prompt="add 1", completion="it is 2") for n in range(20)]
    rows, _ = training_rows(examples, tokenizer, 96)
    trainer = sft_stage.make_trainer(model, tokenizer, rows, sft_settings(schedule=schedule), tmp_path)
    trainer.create_optimizer_and_scheduler(num_training_steps=10)
    rates = []
    for _ in range(10):
        rates.append(trainer.lr_scheduler.get_last_lr()[0])
        trainer.optimizer.step()
        trainer.lr_scheduler.step()
    assert rates[0] == pytest.approx(start)
    assert trainer.lr_scheduler.get_last_lr()[0] == pytest.approx(1e-3)
    assert rates == sorted(rates, reverse=True)


@pytest.mark.parametrize("lora", [LORA, None], ids=["lora", "full"])
def test_dpo_starts_at_ln_2_and_moves(model: Path, tmp_path: Path, lora: LoraSettings | None) -> None:
    """With the reference equal to the policy every margin is 0: -log sigmoid(0) = ln 2 = 0.6931, dropout or not."""
    root = str(tmp_path / "store")
    policy = base(root, model)
    made = train_dpo(root, dpo_settings(lora=lora), DpoInputs(policy, toy_pairs(root)))
    assert made.metrics["start_loss"] == pytest.approx(math.log(2), abs=1e-5)
    assert made.metrics["end_loss"] < math.log(2) - 0.01
    assert not same(weights(model_folder(uri(root, made))), weights(model))
    curve = read_records(uri(root, made), "curve", CurvePoint)
    assert [point.step for point in curve] == list(range(1, 7))  # 12 pairs in batches of 4, twice


def test_the_adapter_changes_the_logits_and_is_merged(model: Path, tmp_path: Path) -> None:
    """Adapter on and off differ after training; the published model, without an adapter, answers as with it on."""
    tokenizer = load_tokenizer(model)
    rows, _ = preference_rows(make_pairs(), tokenizer, 96)
    trainer = make_trainer(model, tokenizer, rows, dpo_settings(), tmp_path)
    trainer.train()
    ids = {"input_ids": torch.tensor([tokenizer("add 3")["input_ids"]])}
    with torch.no_grad():
        trainer.model.eval()
        on = trainer.model(**ids).logits
        with trainer.model.disable_adapter():
            off = trainer.model(**ids).logits
        training.save_model(trainer.model, tokenizer, tmp_path / "merged")
        merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged").eval()(**ids).logits
    assert (on - off).abs().max() > 1e-3
    torch.testing.assert_close(merged, on, atol=1e-4, rtol=1e-4)


def test_dpo_log_probabilities_are_summed_over_the_answer(model: Path, tmp_path: Path) -> None:
    """The reference log-probability of an answer, by hand: the sum over its tokens of log p(token | all before)."""
    tokenizer = load_tokenizer(model)
    rows, _ = preference_rows(make_pairs()[:2], tokenizer, 96)
    trainer = make_trainer(model, tokenizer, rows, dpo_settings(), tmp_path)
    row = trainer.train_dataset[0]
    tokens = torch.tensor(row["prompt_ids"] + row["chosen_ids"])
    plain = AutoModelForCausalLM.from_pretrained(model).eval()
    with torch.no_grad():
        logps = plain(tokens[None]).logits[0, :-1].log_softmax(-1)
    first = len(row["prompt_ids"])
    by_hand = sum(float(logps[n - 1, tokens[n]]) for n in range(first, len(tokens)))
    assert float(row["ref_chosen_logps"]) == pytest.approx(by_hand, abs=1e-3)


class Killed(RuntimeError):  # noqa: N818
    """Stands for a power cut."""


class KillAt(TrainerCallback):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == self.step:
            raise Killed


@pytest.fixture
def kill_at(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], None]]:
    """Make the next training die after that step."""
    real = training.train

    def arrange(step: int) -> None:
        def train(trainer: Any, stage: Stage, label: str) -> None:
            trainer.add_callback(KillAt(step))
            real(trainer, stage, label)

        monkeypatch.setattr(training, "train", train)

    yield arrange
    monkeypatch.setattr(training, "train", real)


@pytest.mark.parametrize("lora", [LORA, None], ids=["lora", "full"])
def test_a_killed_training_ends_with_the_same_weights_and_curve(
    model: Path,
    tmp_path: Path,
    kill_at: Callable[[int], None],
    monkeypatch: pytest.MonkeyPatch,
    lora: LoraSettings | None,
) -> None:
    """Checkpoints every 2 steps; killed after step 5 it goes on from step 4 and publishes the same digest."""
    settings = sft_settings(lora=lora, dropout=0.1)
    undisturbed_root, root = str(tmp_path / "1"), str(tmp_path / "2")
    undisturbed = fine_tune(undisturbed_root, settings, base(undisturbed_root, model), seeds(undisturbed_root))
    real = training.train
    kill_at(5)
    with pytest.raises(Killed):
        fine_tune(root, settings, base(root, model), seeds(root))
    monkeypatch.setattr(training, "train", real)
    resumed = fine_tune(root, settings, base(root, model), seeds(root))
    assert resumed.digest == undisturbed.digest


def test_a_finished_training_is_reused(model: Path, tmp_path: Path) -> None:
    root = str(tmp_path)
    first = fine_tune(root, sft_settings(epochs=1), base(root, model), seeds(root))
    again = fine_tune(root, sft_settings(epochs=1), base(root, model), seeds(root))
    assert again == first  # the moment and the seconds of its making, too


def test_the_batch_must_divide_among_the_devices(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(UserError, match="does not divide into 2 on 3 devices"):
        trainer_arguments(sft_settings(), tmp_path)
