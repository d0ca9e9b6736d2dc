"""SFT and DPO on a tiny random model: where the loss falls, where DPO starts, what a checkpoint is good for."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, TrainerCallback

from components.base_model.base_model import import_model, load_tokenizer
from components.base_model.settings import BaseModelSettings
from components.core.errors import UserError
from components.core.ledger import opened_ledger
from components.core.model_files import model_folder
from components.core.records import Counts, CurvePoint, Example, Manifest, Pair, Parent
from components.core.stage import Stage, read_records
from components.core.store import join, open_store
from components.metrics.observations import read_measured
from components.pairs.settings import PairsSettings
from components.seed_data.settings import SeedDataSettings
from components.training import trainer as training
from components.training.dpo.dpo import DpoInputs, make_trainer, split_held_out, train_dpo, usable_pairs
from components.training.dpo.margins import policy_sums, reference_sums
from components.training.dpo.settings import DpoSettings
from components.training.memory import micro_batch_on_cpu
from components.training.saving import retained_change, save_model, save_trained
from components.training.settings import LoraSettings
from components.training.sft import sft as sft_stage
from components.training.sft.settings import SftSettings
from components.training.sft.sft import fine_tune, training_rows
from components.training.trainer import trainer_arguments
from tests.helpers.tiny_model import make_tiny_model

SMALL = {
    "batch_size": 4,
    "micro_batch_size": 2,
    "max_length": 96,
    "checkpoint_every": 2,
    "seed": 3,
    "precision": "fp32",
}
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
    values |= {"held_out": 0}
    return DpoSettings(**{**values, **SMALL, **changes})


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return AutoModelForCausalLM.from_pretrained(folder).state_dict()


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


def test_the_loss_falls_on_the_completion_alone(model: Path, tmp_path: Path) -> None:
    """The labels that are not masked decode to the answer and the end of the turn."""
    tokenizer = load_tokenizer(model)
    rows, _ = training_rows(
        [Example(id="1", kind="ift", prompt="add 1", completion="it is 2")], tokenizer, sft_settings()
    )
    trainer = sft_stage.make_trainer(model, tokenizer, rows, sft_settings(), tmp_path)
    labels = next(iter(trainer.get_train_dataloader()))["labels"][0]
    assert tokenizer.decode(labels[labels != -100]) == "it is 2<|im_end|>\n"


def test_long_examples_are_dropped_and_counted_never_cut(model: Path) -> None:
    examples = [Example(id="1", kind="eft", prompt="p", completion="x" * 200)]
    rows, counts = training_rows(examples, load_tokenizer(model), sft_settings())
    assert not rows
    assert counts == Counts(dropped={"eft: longer than max_length": 1})
    long = make_pairs()[0].model_copy(update={"rejected": "x" * 200})
    kept, dropped = usable_pairs([long], load_tokenizer(model), 96)
    assert not kept
    assert dropped.dropped == {"pair: longer than max_length": 1}


def test_text_that_spells_control_tokens_is_not_trained_on(model: Path) -> None:
    """Else a reply could close its turn and open another one."""
    hostile = Example(id="1", kind="ift", prompt="p", completion="fine<|im_end|>\n<|im_start|>user\nmore")
    rows, counts = training_rows([hostile], load_tokenizer(model), sft_settings())
    assert not rows
    assert counts == Counts(dropped={"ift: holds control tokens": 1})


@pytest.mark.parametrize(("schedule", "start"), [("cosine", 1e-2), ("linear", 1e-2)])
def test_the_learning_rate_ends_on_its_floor(model: Path, tmp_path: Path, schedule: str, start: float) -> None:
    """After the last of 10 steps the schedule stands at min_learning_rate, not at 0."""
    tokenizer = load_tokenizer(model)
    examples = [Example(id=str(n), kind="ift", prompt="add 1", completion="it is 2") for n in range(20)]
    rows, _ = training_rows(examples, tokenizer, sft_settings())
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
    trainer = make_trainer(model, tokenizer, make_pairs(), dpo_settings(), tmp_path)
    trainer.train()
    ids = {"input_ids": torch.tensor([tokenizer("add 3")["input_ids"]], device=trainer.model.device)}
    with torch.no_grad():
        trainer.model.eval()
        on = trainer.model(**ids).logits
        with trainer.model.disable_adapter():
            off = trainer.model(**ids).logits
        save_model(trainer.model, tmp_path / "merged", model, torch.float32)
        merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged").eval()(ids["input_ids"].cpu()).logits
    assert (on - off).abs().max() > 1e-3
    torch.testing.assert_close(merged, on.cpu(), atol=1e-4, rtol=1e-4)


def test_dpo_log_probabilities_are_summed_over_the_answer(model: Path, tmp_path: Path) -> None:
    """The reference log-probability of an answer, by hand: the sum over its tokens of log p(token | all before)."""
    tokenizer = load_tokenizer(model)
    trainer = make_trainer(model, tokenizer, make_pairs()[:2], dpo_settings(), tmp_path)
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
    """Checkpoints every 2 steps; killed after step 5 it goes on from step 4 and publishes the same digest.

    Its ledger says what the first attempt had taken until its last checkpoint, and that this one made 6 of 10 steps.
    """
    settings = sft_settings(lora=lora, dropout=0.1)
    undisturbed_root, root = str(tmp_path / "1"), str(tmp_path / "2")
    with opened_ledger("computing"):
        undisturbed = fine_tune(undisturbed_root, settings, base(undisturbed_root, model), seeds(undisturbed_root))
    real = training.train
    kill_at(5)
    with opened_ledger("computing"), pytest.raises(Killed):
        fine_tune(root, settings, base(root, model), seeds(root))
    monkeypatch.setattr(training, "train", real)
    with opened_ledger("computing"):
        resumed = fine_tune(root, settings, base(root, model), seeds(root))
    assert resumed.digest == undisturbed.digest
    assert undisturbed.spent and resumed.spent and resumed.earlier and undisturbed.earlier is None
    assert {"training", "storing", "starting"} <= set(resumed.earlier.seconds) & set(resumed.spent.seconds)
    tokens = [made.spent.amounts["trained_tokens"] for made in (undisturbed, resumed)]
    assert tokens[1] / tokens[0] == pytest.approx(0.6, abs=0.1)
    assert "flops" not in resumed.spent.amounts  # in fp32


def test_what_a_training_takes_at_least() -> None:
    """1,000 tokens with 30 weights, 10 of them trained: 2 FLOP forward and 2 backward for each, 2 more for those that
    are trained."""
    layers = torch.nn.ModuleList([torch.nn.Linear(10, 1, bias=False), torch.nn.Linear(10, 2, bias=False)])
    layers[1].requires_grad_(False)
    trainer: Any = SimpleNamespace(model=layers, args=SimpleNamespace(bf16=True), _total_train_tokens=1000)
    with opened_ledger("training") as ledger, training.counted_training(trainer):
        pass
    assert ledger.total().amounts == {"trained_tokens": 1000, "flops": 1000 * (4 * 30 + 2 * 10)}


def test_a_finished_training_is_reused(model: Path, tmp_path: Path) -> None:
    root = str(tmp_path)
    first = fine_tune(root, sft_settings(epochs=1), base(root, model), seeds(root))
    again = fine_tune(root, sft_settings(epochs=1), base(root, model), seeds(root))
    assert again == first  # the moment and the seconds of its making, too


def test_the_batch_must_divide_among_the_devices(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WORLD_SIZE", "3")
    settings = sft_settings()
    with pytest.raises(UserError, match="batch_size 4 does not divide among 3 devices"):
        trainer_arguments(settings, micro_batch_on_cpu(settings, pairs=False), tmp_path)


def test_numbers_that_are_none_end_the_training_and_publish_nothing(model: Path, tmp_path: Path) -> None:
    """After one step at a learning rate of 1e30 gradients overflow: step 2 is the last, before its checkpoint."""
    root = str(tmp_path / "store")
    with pytest.raises(UserError, match=r"sft went astray at step 2 of 10: grad_norm is nan") as error:
        fine_tune(root, sft_settings(learning_rate=1e30, max_grad_norm=1e30), base(root, model), seeds(root))
    assert "Lower sft.learning_rate" in error.value.remedy
    assert not [name for name in open_store(root).names("sft/") if "manifest" in name or "checkpoint" in name]


def test_a_gpu_that_is_too_small_is_told_with_what_helps(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(training.Trainer, "train", full)
    root = str(tmp_path / "store")
    with pytest.raises(UserError, match="sft: the GPU's memory is too small for micro-batches of 2 examples") as error:
        fine_tune(root, sft_settings(), base(root, model), seeds(root))
    assert "sft.micro_batch_size" in error.value.remedy


def test_attention_is_not_planned_anew_for_each_length() -> None:
    """As cuDNN would; components/training is imported above."""
    assert not torch.backends.cuda.cudnn_sdp_enabled()


def test_weights_that_are_none_are_never_saved(model: Path, tmp_path: Path) -> None:
    """As after the very last step, which no loss is computed from any more."""
    tokenizer = load_tokenizer(model)
    trainer = make_trainer(model, tokenizer, make_pairs(), dpo_settings(lora=None), tmp_path)
    trainer.model.model.norm.weight.data[3] = math.nan
    with pytest.raises(UserError, match=r"1 weights are not finite after step 0, model.norm.weight the first"):
        save_trained(trainer, lambda: trainer.model, model, dpo_settings(lora=None), tmp_path / "saved")
    assert not (tmp_path / "saved").exists()


def test_what_is_retained_by_hand(model: Path, tmp_path: Path) -> None:
    """A weight of 1 (a step of bf16 above it is 1/128): + 1/512 is rounded away, + 1/64 is kept, + 3/256 becomes 1/64.

    Changes: 1/512 + 8/512 + 6/512 = 15/512; lost by rounding: 1/512 + 0 + 2/512 = 3/512; retained: 12/15. In fp32
    nothing is lost; without a change there is no share.
    """
    trained = AutoModelForCausalLM.from_pretrained(model)
    assert bool((trained.model.norm.weight == 1).all())
    for parameter in trained.parameters():  # as stored in bf16, so that rounding alters nothing else
        parameter.data = parameter.data.bfloat16().float()
    trained.save_pretrained(tmp_path)
    assert retained_change(trained, tmp_path, torch.bfloat16) == {}
    trained.model.norm.weight.data[:3] += torch.tensor([1 / 512, 8 / 512, 6 / 512])
    assert retained_change(trained, tmp_path, torch.bfloat16)["retained_change"] == pytest.approx(12 / 15)
    assert retained_change(trained, tmp_path, torch.float32) == {"retained_change": 1.0}


def test_a_small_learning_rate_survives_the_handing_over(model: Path, tmp_path: Path) -> None:
    """Full DPO at the paper's 1e-6 in fp32, from weights that bf16 holds exactly: handed over in fp32 by default.

    In bf16 most of the change is lost, and the margin that is told is that of the rounded model, loaded from its file.
    """
    bf16 = tmp_path / "bf16"
    AutoModelForCausalLM.from_pretrained(model).bfloat16().save_pretrained(bf16)
    load_tokenizer(model).save_pretrained(bf16)
    root = str(tmp_path / "store")
    inputs = DpoInputs(base(root, bf16), toy_pairs(root))
    settings = {"lora": None, "learning_rate": 1e-6, "min_learning_rate": 1e-6, "dropout": 0}
    kept = train_dpo(root, dpo_settings(**settings), inputs)
    rounded = train_dpo(root, dpo_settings(save_dtype="bfloat16", **settings), inputs)
    print(kept.metrics, rounded.metrics)
    assert kept.metrics["retained_change"] == 1
    assert rounded.metrics["retained_change"] < 0.9
    stored = [
        AutoModelForCausalLM.from_pretrained(model_folder(uri(root, made)), dtype="auto") for made in (kept, rounded)
    ]
    assert [one.dtype for one in stored] == [torch.float32, torch.bfloat16]
    for made, of_file in zip((kept, rounded), stored, strict=True):
        assert made.metrics["end_margin"] == pytest.approx(margin_by_hand(of_file.float(), bf16), abs=2e-5)
    assert kept.metrics["end_margin"] != pytest.approx(rounded.metrics["end_margin"], rel=0.01)


def margin_by_hand(policy: Any, reference: Path, beta: float = 0.1) -> float:
    """DPO's margin, mean over the pairs: beta times the sum over the answers' tokens of the log-ratios."""
    tokenizer, before = load_tokenizer(reference), AutoModelForCausalLM.from_pretrained(reference, dtype=torch.float32)

    def log_ratio(prompt: str, answer: str) -> float:
        messages = [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]
        tokens = tokenizer.apply_chat_template(messages, return_dict=False)
        first = len(tokenizer.apply_chat_template(messages[:1], add_generation_prompt=True, return_dict=False))
        with torch.no_grad():
            now, then = (
                one.eval()(torch.tensor([tokens])).logits[0].double().log_softmax(-1) for one in (policy, before)
            )
        return sum(float(now[n - 1, tokens[n]] - then[n - 1, tokens[n]]) for n in range(first, len(tokens)))

    pairs = make_pairs()
    return sum(beta * (log_ratio(p.prompt, p.chosen) - log_ratio(p.prompt, p.rejected)) for p in pairs) / len(pairs)


def test_dpo_that_changes_nothing_is_refused(model: Path, tmp_path: Path) -> None:
    """Judged on all watched pairs, after saving: steps of 1e-12 change nothing that anybody could see."""
    bf16 = tmp_path / "bf16"
    AutoModelForCausalLM.from_pretrained(model).bfloat16().save_pretrained(bf16)
    load_tokenizer(model).save_pretrained(bf16)
    root = str(tmp_path / "store")
    settings = {"lora": None, "learning_rate": 1e-12, "min_learning_rate": 0, "save_dtype": "bfloat16"}
    with pytest.raises(UserError, match="all 12 pairs have the log-probabilities that they started with"):
        train_dpo(root, dpo_settings(**settings), DpoInputs(base(root, bf16), toy_pairs(root)))


def test_held_out_pairs_are_split_by_their_ids() -> None:
    """5 % of 1,000 are 50; of 100 at least 16; of 12 half; none where the share is 0. Another seed: the same ones."""
    scores = {"chosen_id": "a", "rejected_id": "b", "chosen_score": 5, "rejected_score": 1}
    pairs = [Pair(id=str(n), prompt=f"{n}", chosen="a", rejected="b", **scores) for n in range(1000)]
    sizes = {n: len(split_held_out(pairs[:n], DpoSettings())[1]) for n in (1000, 100, 12)}
    assert sizes == {1000: 50, 100: 16, 12: 6}
    trained, held_out = split_held_out(pairs, DpoSettings(seed=5))
    assert held_out == split_held_out(pairs, DpoSettings())[1]
    assert sorted((*trained, *held_out), key=lambda pair: int(pair.id)) == pairs
    assert split_held_out(pairs, DpoSettings(held_out=0)) == (pairs, [])


def test_held_out_pairs_are_watched_and_not_trained_on(model: Path, tmp_path: Path) -> None:
    """12 pairs, 6 held out, batches of 2: 6 steps; figures at each checkpoint and of the saved model, with intervals.

    All pairs prefer a number to "no": what is learned on six holds for the others. Drift: the margin is beta times the
    difference of the two.
    """
    root = str(tmp_path / "store")
    settings = dpo_settings(held_out=0.05, batch_size=2, checkpoint_every=2, dropout=0)
    made = train_dpo(root, settings, DpoInputs(base(root, model), toy_pairs(root)))
    assert made.counts.kept == {"pairs": 6, "held_out": 6}
    curve = read_records(uri(root, made), "curve", CurvePoint)
    watched = {point.step: point.values for point in curve if "held_out/margin" in point.values}
    assert list(watched) == [2, 4, 6]
    assert watched[2]["held_out/margin"] < watched[6]["held_out/margin"]
    metrics = made.metrics
    assert metrics["held_out_margin"] == pytest.approx(watched[6]["held_out/margin"], abs=1e-4)
    drift = metrics["held_out_chosen_drift"] - metrics["held_out_rejected_drift"]
    assert metrics["held_out_margin"] == pytest.approx(0.1 * drift, abs=1e-6)
    assert metrics["held_out_accuracy"] == 1
    assert metrics["held_out_loss"] < math.log(2)
    assert metrics["held_out_margin_items"] == 6
    assert metrics["held_out_margin_low"] <= metrics["held_out_margin"] <= metrics["held_out_margin_high"]
    observed = read_measured([uri(root, made)])
    assert set(observed) == {
        f"held_out_{name}" for name in ("margin", "accuracy", "loss", "chosen_drift", "rejected_drift")
    }


def test_log_probabilities_that_are_not_fp32_are_refused(model: Path, tmp_path: Path) -> None:
    trainer = make_trainer(model, load_tokenizer(model), make_pairs(), dpo_settings(), tmp_path)
    real = trainer.model.forward

    def rounded(*args: Any, **kwargs: Any) -> Any:
        output = real(*args, **kwargs)
        output.log_probs = output.log_probs.bfloat16()
        return output

    trainer.model.forward = rounded
    with pytest.raises(RuntimeError, match="bfloat16 and not fp32"):
        policy_sums(trainer, trainer.train_dataset)


def test_sums_of_ld_alpha_are_those_of_the_loss(model: Path, tmp_path: Path) -> None:
    """TRL's own sums of the reference, computed beforehand, on answers of different lengths."""
    trainer = make_trainer(model, load_tokenizer(model), make_pairs(), dpo_settings(ld_alpha=0.5, lora=None), tmp_path)
    ours, theirs = policy_sums(trainer, trainer.train_dataset), reference_sums(trainer.train_dataset)
    assert torch.tensor(ours).allclose(torch.tensor(theirs), atol=1e-3)
