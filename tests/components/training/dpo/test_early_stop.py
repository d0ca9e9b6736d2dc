"""DPO stops when its answers no longer get better, and keeps the checkpoint before."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components.base_model.base_model import import_model
from components.base_model.settings import BaseModelSettings
from components.core.errors import UserError
from components.core.records import CheckpointComparison, Counts, CurvePoint, Manifest, Pair, Parent, Prompt
from components.core.stage import Stage, read_records
from components.core.store import join
from components.judging.settings import JudgingSettings
from components.pairs.settings import PairsSettings
from components.seed_data.settings import SeedDataSettings
from components.serving.settings import Generation
from components.training.dpo.dpo import DpoInputs, train_dpo
from components.training.dpo.early_stop import EarlyStop, compare_checkpoints, no_better
from components.training.dpo.settings import DpoSettings, EarlyStopSettings
from components.training.settings import LoraSettings
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
    values |= {"held_out": 0}
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
    import components.training.dpo.early_stop as module

    real = module.answer_prompts
    monkeypatch.setattr(
        module,
        "answer_prompts",
        lambda *a: [answer.model_copy(update={"finish_reason": "stop"}) for answer in real(*a)],
    )


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


def test_sharded_weights_are_refused_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match="none has all of its weights"):
        EarlyStop(None, settings(sharding="fsdp"))  # type: ignore[arg-type]
