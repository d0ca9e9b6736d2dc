"""Two processes train as one does: real processes on CPU over gloo, by torchrun where what it does is tested, else
forked (tests/helpers/ranks.py)."""

from __future__ import annotations

import math
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from components.base_model.base_model import import_model
from components.base_model.settings import BaseModelSettings
from components.core.errors import UserError
from components.core.model_files import model_folder
from components.core.records import (
    CheckpointComparison,
    Counts,
    CurvePoint,
    Example,
    Manifest,
    Pair,
    Parent,
    Prompt,
    ReferenceLogProbs,
)
from components.core.stage import MANIFEST, Stage, find_manifest, read_records
from components.core.store import join, open_store
from components.judging.settings import JudgingSettings
from components.pairs.settings import PairsSettings
from components.seed_data.settings import SeedDataSettings
from components.serving.settings import Generation
from components.training.dpo import answers
from components.training.dpo.settings import DpoSettings, EarlyStopSettings
from components.training.launch import worker
from components.training.launch.launch import on_this_node, train_stage
from components.training.launch.logs import Log
from components.training.launch.request import TrainingRequest
from components.training.settings import LoraSettings
from components.training.sft.settings import SftSettings
from tests.helpers.mixed_pairs import HELD_OUT, mixed_pairs
from tests.helpers.ranks import train_in_ranks
from tests.helpers.scripted_endpoint import Script, said
from tests.helpers.tiny_model import make_tiny_model

pytestmark = pytest.mark.slow
extended = pytest.mark.extended
LORA = LoraSettings(rank=4, alpha=8)
SCORES = {"chosen_id": "a", "rejected_id": "b", "chosen_score": 5, "rejected_score": 1}
COMMON = {"learning_rate": 1e-2, "min_learning_rate": 1e-3, "epochs": 2, "dropout": 0, "max_length": 96, "seed": 3}
COMMON |= {"batch_size": 4, "micro_batch_size": 2, "checkpoint_every": 2}


class Toy:
    """A store with a tiny model, 24 examples and 12 pairs of different lengths."""

    def __init__(self, folder: Path) -> None:
        self.root = str(folder / "store")
        made = import_model(self.root, BaseModelSettings(base=str(make_tiny_model(folder / "model"))))
        self.model = join(self.root, made.stage, made.key)

    def sft(self, examples: int = 24, **changes: Any) -> TrainingRequest:
        toy = {"messages": Parent(uri="toy", digest=f"toy-{examples}")}
        stage = Stage(self.root, "seed_data", SeedDataSettings(messages="toy"), toy)
        lines = [
            Example(id=str(n), kind="ift", prompt=f"add {n}", completion="it is" + " very" * (n % 5) + f" {n + 1}")
            for n in range(examples)
        ]
        stage.publish(Counts(), {"ift": lines})
        settings = SftSettings(**(COMMON | changes))
        inputs = {"base": self.model, "seed_data": stage.uri}
        return TrainingRequest(kind="sft", root=self.root, settings=settings.to_dict(), inputs=inputs)

    def dpo(self, pairs: int = 12, lines: Sequence[Pair] = (), **changes: Any) -> TrainingRequest:
        toy = {"toy": Parent(uri="toy", digest=f"toy-{[pair.id for pair in lines] or pairs}")}
        stage = Stage(self.root, "pairs", PairsSettings(), toy)
        stage.publish(
            Counts(),
            {"pairs": lines or
                      [Pair(id=str(n), prompt=f"add {n}", chosen=f"{n}" * (1 + n % 4), rejected=f"no {n}", **SCORES)
                       for n in range(pairs)]},
        )  # fmt: skip
        settings = DpoSettings(**(COMMON | {"lora": LORA, "held_out": 0} | changes))
        return TrainingRequest(
            kind="dpo", root=self.root, settings=settings.to_dict(), inputs={"model": self.model, "pairs": stage.uri}
        )


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Toy:
    monkeypatch.setenv("SRLM_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return Toy(tmp_path)


@pytest.fixture
def other(tmp_path: Path, toy: Toy) -> Toy:
    """The same in a store of its own."""
    return Toy(tmp_path / "other")


def made_by_two(request: TrainingRequest, train: Callable[[TrainingRequest], None] = train_in_ranks) -> Manifest:
    train(request.on(2))
    manifest = find_manifest(request.stage().uri)
    assert manifest
    return manifest


def curve(request: TrainingRequest) -> list[CurvePoint]:
    return read_records(request.stage().uri, "curve", CurvePoint)


def weights(request: TrainingRequest) -> dict[str, torch.Tensor]:
    return AutoModelForCausalLM.from_pretrained(model_folder(request.stage().uri)).state_dict()


def furthest(one: TrainingRequest, other: TrainingRequest) -> dict[str, float]:
    """The largest difference of losses and of weights."""
    first, second = curve(one), curve(other)
    assert [point.step for point in first] == [point.step for point in second]
    losses = [abs(a.values["loss"] - b.values["loss"]) for a, b in zip(first, second, strict=True)]
    w, v = weights(one), weights(other)
    found = {"loss": max(losses), "weights": max(float((w[name] - v[name]).abs().max()) for name in w)}
    print(found)
    return found


TRAININGS = {
    "sft-full": lambda toy, **changes: toy.sft(**changes),
    "sft-lora": lambda toy, **changes: toy.sft(lora=LORA, **changes),
    "dpo-lora": lambda toy, **changes: toy.dpo(**changes),
    "dpo-full": lambda toy, **changes: toy.dpo(lora=None, nll_weight=0.2, **changes),
}


# each training once, each way to spread it over devices with full weights and with LoRA; DPO's own reference with both
@pytest.mark.parametrize(
    ("training", "sharding"),
    [
        pytest.param("sft-full", "fsdp", marks=extended),
        pytest.param("sft-lora", "none", marks=extended),
        pytest.param("dpo-full", "none", marks=extended),
        ("dpo-full", "fsdp"),
        pytest.param("dpo-lora", "fsdp", marks=extended),
    ],
)
def test_two_processes_have_the_curve_and_the_weights_of_one(
    toy: Toy, other: Toy, training: str, sharding: str
) -> None:
    """Equal global batches: losses (0.7 to 6) agree to 1e-4 and weights (up to 0.8) to 1e-3 after all steps."""
    alone, shared = TRAININGS[training](toy), TRAININGS[training](other, sharding=sharding)
    assert alone.stage().key == shared.stage().key  # how it is spread over devices does not make it another model
    alone.make()
    made_by_two(shared)
    difference = furthest(alone, shared)
    assert difference["loss"] < 1e-4
    assert difference["weights"] < 1e-3


@pytest.mark.parametrize("sharding", ["none", pytest.param("fsdp", marks=extended)])
def test_two_processes_keep_the_pairs_that_one_does(toy: Toy, other: Toy, sharding: str) -> None:
    """By the implicit reward of M2, which prefers numbers to "no", against M1: of 12 pairs the 8 that do, too."""
    requests = []
    for one, options in ((toy, {}), (other, {"sharding": sharding})):
        first = one.dpo(lora=None)
        first.make()
        lines = [
            Pair(id=str(n), prompt=f"add {n}", chosen=sides[n % 3 == 0], rejected=sides[n % 3 > 0], **SCORES)
            for n in range(12)
            for sides in [(f"{n}" * (1 + n % 4), f"no {n}")]
        ]
        second = one.dpo(lines=lines, lora=None, self_consistency=True, **options)
        inputs = second.inputs | {"model": first.stage().uri, "previous": one.model}
        requests.append(second.model_copy(update={"inputs": inputs}))
    alone, shared = requests
    assert alone.make().counts.kept["pairs"] == 8
    assert made_by_two(shared).counts.kept["pairs"] == 8
    assert furthest(alone, shared)["weights"] < 1e-3


@pytest.mark.parametrize("lora", [None, pytest.param(LORA, marks=extended)], ids=["full", "lora"])
def test_two_processes_ask_the_reference_as_one_does(toy: Toy, other: Toy, lora: LoraSettings | None) -> None:
    """Each half of 13 pairs, a number that does not divide: log-probabilities (-300 to -20 nats) agree to 1e-3 with
    those of one process. Where one process has asked, two do not ask again, and have its curve."""
    asked = []
    for one, beta in ((toy, 0.1), (other, 0.1), (toy, 0.3), (other, 0.3)):
        request = one.dpo(pairs=13, lora=lora, beta=beta, sharding="fsdp", epochs=1)
        made_by_two(request) if (one is other) == (beta == 0.1) else request.make()
        (table,) = [name for name in open_store(one.root).names("reference_log_probs/") if name.endswith(MANIFEST)]
        asked.append(read_records(join(one.root, table.removesuffix(f"/{MANIFEST}")), "log_probs", ReferenceLogProbs))
    alone, shared, *later = asked
    assert later == [alone, shared]
    for one, two in zip(alone, shared, strict=True):
        assert one.id == two.id
        assert (two.chosen, two.rejected) == pytest.approx((one.chosen, one.rejected), abs=1e-3)
    last = [one.dpo(pairs=13, lora=lora, beta=0.3, epochs=1) for one in (toy, other)]
    assert furthest(*last)["loss"] < 1e-4


RANK = """
import os, sys, weakref
from pathlib import Path
from torch import distributed
from components.base_model.base_model import load_tokenizer
from components.core.records import Pair
from components.training.dpo.dpo import make_trainer
from components.training import model
from components.training.dpo.settings import DpoSettings
distributed.init_process_group("gloo")
folder, settings = Path(sys.argv[1]), DpoSettings(sharding="fsdp", batch_size=4, max_length=96)
resident = lambda: int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
before = resident()
policy = model.load_policy(folder, settings)
grown = resident() - before
size = sum(4 * one.numel() for one in policy.parameters())
scores = {"chosen_id": "a", "rejected_id": "b", "chosen_score": 5, "rejected_score": 1}
pairs = [Pair(id="1", prompt="add 1", chosen="2", rejected="3", **scores)] * 4
load, references = model.load_reference, []
def load_reference(*args, **named):
    reference = load(*args, **named)
    held = sum(4 * one.to_local().numel() for one in reference.parameters() if not one.is_meta)
    references.append((weakref.ref(reference), held / size))
    return reference
model.load_reference = load_reference
for known in (None, {"1": (-1.0, -2.0)}):
    trainer = make_trainer(folder, load_tokenizer(folder), pairs, settings, Path(sys.argv[2]), reference=known)
(asked, share), (_, unasked) = references
values = [os.environ["RANK"], grown / size, share, unasked, asked() is None, trainer.is_fsdp_enabled]
print("\\nrank", *values, flush=True)
distributed.destroy_process_group()
"""


@extended
def test_sharded_weights_are_read_by_the_first_process_alone(tmp_path: Path, toy: Toy) -> None:
    """Of a model of 150 MB the second holds nothing before training begins; each holds half of the reference while that
    is asked, nothing of it where what it says is known, and nothing afterwards.

    That FSDP is on is not a matter of course: accelerate takes DDP on CPUs.
    """
    folder = make_tiny_model(tmp_path / "wide")
    model = AutoModelForCausalLM.from_pretrained(folder)
    wide = type(model)(type(model.config)(**{**model.config.to_dict(), "intermediate_size": 100_000}))
    wide.to(torch.bfloat16).save_pretrained(folder)  # as it is stored on GPUs: reading it to fp32 takes memory
    (tmp_path / "rank.py").write_text(RANK)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command += [str(tmp_path / "rank.py"), str(folder), str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    ended = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    ranks = sorted(line.split()[1:] for line in ended.stdout.splitlines() if line.startswith("rank "))
    assert [one[0] for one in ranks] == ["0", "1"], ended.stderr
    assert float(ranks[0][1]) > 0.9
    assert float(ranks[1][1]) < 0.3
    assert all(0.45 < float(one[2]) < 0.55 and one[3:] == ["0.0", "True", "True"] for one in ranks), ranks


@extended
@pytest.mark.parametrize(("kind", "left"), [("sft", 1), ("dpo", 5)])
def test_the_rest_of_an_epoch_is_trained_on_once(toy: Toy, other: Toy, kind: str, left: int) -> None:
    """Batches of 8, of which two processes hold 2 + 2 at once: what is left of an epoch (16 + 5 examples: 2 + 2 + 1)
    fills their last turn in part, or leaves one of them nothing; the curve is that of one process all the same."""
    ask = {
        "sft": lambda toy: toy.sft(examples=16 + left, batch_size=8),
        "dpo": lambda toy: toy.dpo(pairs=16 + left, batch_size=8, nll_weight=0.2),
    }[kind]
    alone, shared = ask(toy), ask(other)
    alone.make()
    made_by_two(shared)
    assert furthest(alone, shared)["loss"] < 1e-4


def looking(toy: Toy, every: int, judge: str = "", **changes: Any) -> TrainingRequest:
    """DPO that looks at answers to two prompts; without another judge, Mt is it."""
    draw = {"max_tokens": 8, "concurrency": 1}
    judging = JudgingSettings(prompt="{instruction} -> {response} ?", samples=1, **draw)
    stop = EarlyStopSettings(every=every, answers=Generation(**draw), judging=judging)
    stage = Stage(toy.root, "seed_data", SeedDataSettings(messages="toy"), {})
    stage.publish(Counts(), {"validation": [Prompt(id=str(n), text=f"add {n}") for n in range(2)]})
    asked = toy.dpo(early_stop=stop, **changes)
    inputs = {**asked.inputs, "seed_data": stage.uri, "judge_endpoint": judge}
    return asked.model_copy(update={"inputs": inputs})


@extended
@pytest.mark.parametrize("sharding", ["none", "fsdp"])
def test_one_process_looks_at_the_answers_for_all(toy: Toy, other: Toy, sharding: str) -> None:
    """A random model's judgements do not parse: both trainings go on to their end and look at the same steps."""
    alone, shared = looking(toy, every=4), looking(other, every=4, sharding=sharding)
    alone.make()
    made_by_two(shared)
    assert furthest(alone, shared)["loss"] < 1e-4
    assert looks(alone) == looks(shared)
    assert [look.step for look in looks(alone)] == [4, 6]


@extended
def test_looks_at_sharded_weights_do_not_change_the_training(toy: Toy, other: Toy) -> None:
    """Dropout is on: what is gathered to answer, a new adapter among it, takes no random number from the training."""
    looked, plain = looking(toy, every=2, sharding="fsdp", dropout=0.1), other.dpo(sharding="fsdp", dropout=0.1)
    for request in (looked, plain):
        made_by_two(request)
    assert len(looks(looked)) == 3
    assert furthest(looked, plain) == {"loss": 0, "weights": 0}


def looks(request: TrainingRequest) -> list[CheckpointComparison]:
    return read_records(request.stage().uri, "checkpoints", CheckpointComparison)


# all ways to spread it; in each what training falls back to is another kind of checkpoint
@pytest.mark.parametrize(
    ("sharding", "lora"),
    [
        ("fsdp", None),
        pytest.param("fsdp", LORA, marks=extended),
        pytest.param("none", LORA, marks=extended),
        pytest.param("none", None, marks=extended),
    ],
)
def test_two_processes_stop_by_pairs_where_one_does(
    toy: Toy, other: Toy, sharding: str, lora: LoraSettings | None
) -> None:
    """The loss on the held-out pairs falls and rises again (see `mixed_pairs`): both stop at the same look, and keep
    the weights of the one before. What the saved model is measured to be is what that look found."""
    rate = {"learning_rate": 3e-4 if lora else 3e-5, "min_learning_rate": 3e-4 if lora else 3e-5, "lora": lora}
    watched = {"held_out": 0.25, "min_held_out": HELD_OUT, "epochs": 4, "beta": 0.5}
    watched["early_stop"] = EarlyStopSettings(by="pairs", every=2)
    alone = toy.dpo(lines=mixed_pairs(), **rate, **watched)
    shared = other.dpo(lines=mixed_pairs(), sharding=sharding, **rate, **watched)
    alone.make()
    made = made_by_two(shared)
    difference = furthest(alone, shared)
    assert difference["loss"] < 1e-4
    assert difference["weights"] < 1e-3
    one, two = looks(alone), looks(shared)
    assert [(look.step, look.wins, look.ties) for look in one] == [(look.step, look.wins, look.ties) for look in two]
    assert [look.loss for look in two] == pytest.approx([look.loss for look in one], abs=1e-4)
    *_, kept, last = two
    assert 4 <= last.step < 12
    assert made.metrics["steps"] == kept.step == last.step - 2
    assert made.metrics["held_out_loss"] == pytest.approx(kept.loss, abs=1e-5)
    assert abs(made.metrics["held_out_loss"] - last.loss) > 1e-4


def whole_answers(request: str) -> int:
    """A worker for which cut answers count, too: an untrained model seldom ends one by itself."""
    real = answers.answers_to

    def answers_to(*asked: Any) -> Any:
        batch = real(*asked)
        return replace(batch, make=lambda q, made: batch.make(q, replace(made, finish_reason="stop")))

    answers.answers_to = answers_to
    return worker.main(request)


@pytest.mark.parametrize("lora", [None, pytest.param(LORA, marks=extended)], ids=["full", "lora"])
def test_sharded_weights_answer_whole(toy: Toy, other: Toy, serve: Callable[[Script], str], lora: Any) -> None:
    """Two processes shard the policy; gathered, it answers as the policy of one process does: the judge is asked the
    same. Scores 1 (untrained), 3 (step 2), 2 (step 4): it ends at 4 with the weights of 2."""
    judge = {name: Script(lambda n, _: said(f"Score: {[1, 3, 2][(n - 1) // 2]}")) for name in ("alone", "shared")}
    made: list[TrainingRequest] = []
    for name, where, sharding in (("alone", toy, "none"), ("shared", other, "fsdp")):
        request = looking(where, 2, serve(judge[name]), lora=lora, sharding=sharding)
        train_in_ranks(request.on(1 if name == "alone" else 2), whole_answers)
        made.append(request)
        assert [(look.step, look.wins, look.losses) for look in looks(request)] == [(2, 2, 0), (4, 0, 2)]
        assert [point.step for point in curve(request)] == [1, 2]
    one, two = ([body["messages"][0]["content"] for body in of.bodies] for of in judge.values())
    assert one == two
    assert len(set(one)) == 6  # the policy answers anew at each look
    assert furthest(*made)["weights"] < 1e-3


def started(request: TrainingRequest) -> subprocess.Popen[bytes]:
    """The step of two processes as a process group of its own."""
    code = "import sys; from components.training.launch import launch, request as r; "
    code += "launch.on_this_node(r.TrainingRequest.model_validate_json(sys.argv[1]))"
    return subprocess.Popen([sys.executable, "-c", code, request.on(2).model_dump_json()], start_new_session=True)


def until_it_has_a_checkpoint(request: TrainingRequest, step: subprocess.Popen[bytes]) -> None:
    store = open_store(request.stage().uri)
    while not any(name.endswith(".json") for name in store.names("progress/checkpoints/")):
        assert step.poll() is None
        time.sleep(0.05)


def holders_of_shards(request: TrainingRequest) -> dict[str, set[int]]:
    """Ranks that wrote a part of the weights and of Adam's state into a checkpoint; each file is named by its rank."""
    names = open_store(request.stage().uri).names("progress/checkpoints/")
    found = [re.search(r"/(\w+)/__(\d+)_\d+\.distcp$", name) for name in names]
    shards = [(match[1], int(match[2])) for match in found if match]
    assert not [
        name for name in names if name.endswith(("model.safetensors", "pytorch_model_fsdp.bin", "optimizer.bin"))
    ]
    return {part: {rank for of, rank in shards if of == part} for part, _ in shards}


@extended
@pytest.mark.parametrize(("sharding", "lora"), [("none", LORA), ("fsdp", LORA), ("fsdp", None)])
def test_a_killed_training_ends_with_the_same_weights(
    toy: Toy, other: Toy, sharding: str, lora: dict[str, int] | None
) -> None:
    """Dropout is on: every process goes on with its own random state. Where weights are sharded, checkpoints are."""
    settings = {"sharding": sharding, "dropout": 0.1, "epochs": 8, "lora": lora}
    undisturbed, killed = toy.sft(**settings), other.sft(**settings)
    digest = made_by_two(undisturbed).digest
    step = started(killed)
    until_it_has_a_checkpoint(killed, step)
    os.killpg(step.pid, signal.SIGKILL)
    step.wait()
    assert find_manifest(killed.stage().uri) is None
    if sharding == "fsdp":
        assert holders_of_shards(killed) == {"pytorch_model_fsdp_0": {0, 1}, "optimizer_0": {0, 1}}
    assert made_by_two(killed).digest == digest


def test_a_step_that_is_asked_to_end_takes_its_processes_along(toy: Toy) -> None:
    request = toy.sft(epochs=50)
    step = started(request)
    until_it_has_a_checkpoint(request, step)
    step.terminate()
    assert step.wait() == 128 + signal.SIGTERM
    with pytest.raises(ProcessLookupError):
        os.killpg(step.pid, 0)


def test_another_number_of_processes_than_asked_for_is_refused(toy: Toy) -> None:
    """As when Trainer's runtime does not tell torchrun of the other node."""
    ended = torchrun(toy.sft().on(2))
    assert ended.returncode == 2  # by which the cluster knows that another try is of no use
    assert "1 processes train where the recipe asks for 2" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_node_whose_container_sees_no_gpu_is_refused_before_the_others_are_waited_for(toy: Toy) -> None:
    ended = torchrun(toy.sft().on(16, gpus=8))
    assert ended.returncode == 2
    assert "the recipe asks for 8 GPUs (resources.gpus) and torch sees 0" in ended.stderr


def test_what_is_no_mistake_of_the_recipe_s_ends_otherwise(toy: Toy) -> None:
    """Other nodes wait a little then; this one is alone."""
    ended = torchrun("no request")
    assert ended.returncode == 1
    assert "training processes of this node ended with exit code 1" in ended.stderr


def test_a_process_that_was_killed_is_told_with_what_takes_less_memory() -> None:
    """As the kernel kills one, of whom torchrun only says a number."""
    killing = ["--no-python", "sh", "-c", "kill -9 $$$$"]  # torchrun makes $ of $$
    command = ["components.training.launch.torchrun", "--standalone", *killing]
    ended = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True, check=False)
    log = Log()
    log.follow(ended.stderr.splitlines())
    assert ended.returncode == 1
    assert "was killed, as the kernel does where memory ends" in str(log.error("it failed"))
    assert "dpo.micro_batch_size" in str(log.error("it failed"))


def torchrun(request: TrainingRequest | str) -> subprocess.CompletedProcess[str]:
    """One process, as a TrainJob's node starts it."""
    text = request if isinstance(request, str) else request.model_dump_json()
    command = ["components.training.launch.torchrun", "--standalone", "-m", "components.training.launch.worker", text]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run(
        [sys.executable, "-m", *command], capture_output=True, text=True, check=False, env=environment
    )


def test_an_error_for_the_user_comes_back_from_the_processes(toy: Toy) -> None:
    with pytest.raises(UserError, match="no example is left to train on"):
        made_by_two(toy.sft(max_length=16), on_this_node)


def test_gpus_that_are_not_there_are_refused(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even one: on CPUs a training would go on for days without a word."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    for count, words in ((64, "asks for 64 GPUs"), (1, r"asks for 1 GPU \(resources.gpus\) and torch sees 0")):
        with pytest.raises(UserError, match=words):
            train_stage(toy.sft(), {"gpus": count}, {}, "", "run", "sft")


def test_what_is_finished_is_found_before_anything_is_started(toy: Toy) -> None:
    request = toy.sft(epochs=1)
    made = request.make()
    assert train_stage(request, {"nodes": 2, "gpus": 8}, {}, "", "run", "sft") == made  # neither is here


def repeated_words(toy: Toy, **changes: Any) -> TrainingRequest:
    """DPO with all weights on 16 pairs of 20 to 36 words, one word many times: long sums of log-probabilities."""
    stage = Stage(toy.root, "pairs", PairsSettings(), {"toy": Parent(uri="toy", digest="repeated words")})
    scores = {"chosen_id": "a", "rejected_id": "b", "chosen_score": 5, "rejected_score": 1}
    pairs = [
        Pair(id=str(n), prompt=f"say {n}", chosen="yes " * (20 + n), rejected="no " * (36 - n), **scores)
        for n in range(16)
    ]
    stage.publish(Counts(), {"pairs": pairs})
    values = COMMON | {"learning_rate": 1e-5, "min_learning_rate": 1e-6, "max_length": 512, "lora": None}
    settings = DpoSettings(**(values | changes))
    inputs = {"model": toy.model, "pairs": stage.uri}
    return TrainingRequest(kind="dpo", root=toy.root, settings=settings.to_dict(), inputs=inputs)


def change(request: TrainingRequest, start: Path) -> torch.Tensor:
    """What training added to all weights, in one vector."""
    before = AutoModelForCausalLM.from_pretrained(start).state_dict()
    return torch.cat([(after - before[name]).flatten() for name, after in weights(request).items()])


def test_sharded_bf16_has_the_curve_of_fp32(toy: Toy, other: Toy) -> None:
    """Two ranks, parameters gathered in bf16, against one process in fp32.

    They start at ln 2 exactly, as policy and reference round alike and log-probabilities are summed in fp32; bf16 sums
    of some hundred nats would be multiples of 2 or 4. What is left is the rounding of activations to 8 bits.
    """
    alone = repeated_words(toy, precision="fp32")
    shared = repeated_words(other, precision="bf16", sharding="fsdp")
    one, two = alone.make(), made_by_two(shared)
    first, *rest = zip(curve(alone), curve(shared), strict=True)
    assert first[1].values["loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert first[1].values["rewards/margins"] == 0
    for fp32, bf16 in rest:
        assert bf16.values["rewards/margins"] == pytest.approx(fp32.values["rewards/margins"], rel=0.15)
        assert bf16.values["loss"] == pytest.approx(fp32.values["loss"], rel=0.1)
    for name in ("start_loss", "end_loss", "end_margin", "held_out_margin", "held_out_chosen_drift", "held_out_loss"):
        assert two.metrics[name] == pytest.approx(one.metrics[name], rel=0.15), name
    trained, in_bf16 = (change(made, model_folder(toy.model)) for made in (alone, shared))
    assert torch.cosine_similarity(trained, in_bf16, dim=0) > 0.95


def start_from_bf16(toy: Toy, folder: Path) -> Toy:
    """The toy with a model that bf16 holds exactly, as published ones are."""
    tiny = make_tiny_model(folder)
    AutoModelForCausalLM.from_pretrained(tiny).bfloat16().save_pretrained(tiny)
    made = import_model(toy.root, BaseModelSettings(base=str(tiny)))
    toy.model = join(toy.root, made.stage, made.key)
    return toy


def test_two_processes_hand_over_what_one_does(toy: Toy, other: Toy, tmp_path: Path) -> None:
    """Rounded to bf16 after a small learning rate: both retain the same share of it, and measure the rounded model. Two
    that torchrun starts, as a step has it do.

    Weights of 0.2 (a step of bf16 is 1/1024) move by some 1e-5: little is retained, whatever the curve says.
    """
    small = {"learning_rate": 1e-5, "min_learning_rate": 1e-5, "save_dtype": "bfloat16"}
    alone = repeated_words(start_from_bf16(toy, tmp_path / "one"), **small)
    shared = repeated_words(start_from_bf16(other, tmp_path / "two"), sharding="fsdp", **small)
    one, two = alone.make().metrics, made_by_two(shared, on_this_node).metrics
    assert {made.dtype for of in (alone, shared) for made in weights(of).values()} == {torch.bfloat16}
    assert 0 < one["retained_change"] < 0.9
    assert two["retained_change"] == pytest.approx(one["retained_change"], rel=0.05)
    for name in ("end_margin", "held_out_margin", "held_out_chosen_drift"):
        assert two[name] == pytest.approx(one[name], rel=0.1, abs=1e-3), name
    assert one["end_margin"] < 0.7 * curve(alone)[-1].values["rewards/margins"]


def test_numbers_that_are_none_end_all_processes(toy: Toy) -> None:
    request = toy.sft(learning_rate=1e30, max_grad_norm=1e30, checkpoint_every=1)
    with pytest.raises(UserError, match=r"sft went astray at step \d+ of 12: .* is (nan|inf)"):
        made_by_two(request, on_this_node)
    names = open_store(request.stage().uri).names()
    assert not [name for name in names if "manifest" in name or "files-" in name]
