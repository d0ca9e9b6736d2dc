"""Examples of like length share a micro-batch, and the answers' tokens alone are projected: the losses stay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from accelerate.data_loader import SeedableRandomSampler
from trl.trainer import utils as trl_utils

from components.base_model.base_model import load_tokenizer
from components.core.records import Pair
from components.training import batches
from components.training.dpo import dpo
from components.training.dpo.settings import DpoSettings
from components.training.memory import MicroBatch
from components.training.sft import sft
from components.training.sft.settings import SftSettings
from tests.helpers.tiny_model import make_tiny_model

SETTINGS = {"learning_rate": 1e-2, "min_learning_rate": 1e-3, "dropout": 0, "precision": "fp32", "max_length": 256}
SETTINGS |= {"batch_size": 4, "micro_batch_size": 2, "seed": 3, "checkpoint_every": 100}
# Ten lengths without order, so that two steps are full and a third is half of one.
WORDS = (3, 30, 1, 12, 25, 2, 18, 7, 21, 5)
pytestmark = pytest.mark.slow


def make_trainer(kind: str, folder: Path, **of_pairs: Any) -> Any:
    model = make_tiny_model(folder / "model")
    if kind == "sft":
        rows = [
            {
                "prompt": [{"role": "user", "content": f"{n}?"}],
                "completion": [{"role": "assistant", "content": "a " * n}],
            }
            for n in WORDS
        ]
        return sft.make_trainer(model, load_tokenizer(model), rows, SftSettings(**SETTINGS), folder / "out")
    scores = {"chosen_id": "a", "rejected_id": "b", "chosen_score": 5, "rejected_score": 1}
    pairs = [Pair(id=str(n), prompt=f"{n}?", chosen="a " * n, rejected="b " * (n // 2 + 9), **scores) for n in WORDS]
    return dpo.make_trainer(model, load_tokenizer(model), pairs, DpoSettings(**SETTINGS, **of_pairs), folder / "out")


def losses(trainer: Any) -> list[float]:
    trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


@pytest.mark.parametrize("kind", ["sft", "dpo"])
def test_each_step_has_the_examples_that_were_drawn_for_it(kind: str, tmp_path: Path) -> None:
    """The longest first; the last step, half full, as it was drawn."""
    trainer = make_trainer(kind, tmp_path)
    drawn = list(SeedableRandomSampler(range(10), data_seed=3))
    order, length = list(trainer._get_train_sampler()), batches.row_lengths(trainer.train_dataset)
    for step in (slice(0, 4), slice(4, 8)):
        assert sorted(order[step]) == sorted(drawn[step])
        assert [length[n] for n in order[step]] == sorted((length[n] for n in drawn[step]), reverse=True)
    assert order[8:] == drawn[8:] and order != drawn


@pytest.mark.parametrize("kind", ["sft", "dpo"])
def test_the_losses_are_those_of_the_drawn_order(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    by_length = losses(make_trainer(kind, tmp_path / "1"))
    monkeypatch.setattr(batches, "row_lengths", lambda dataset: [0] * len(dataset))
    assert by_length == pytest.approx(losses(make_trainer(kind, tmp_path / "2")), abs=1e-5)
    assert len(set(by_length)) == 3  # it learns something


@pytest.mark.parametrize("kind", ["sft", "dpo"])
def test_the_answers_tokens_alone_are_projected(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither prompts nor padding: nobody needs their logits, and a vocabulary is a fifth of a small model."""
    real, projected = trl_utils._ChunkedLogProbFunction, []

    class Spy:
        @staticmethod
        def apply(hidden: Any, *args: Any) -> Any:
            projected.append(len(hidden))
            return real.apply(hidden, *args)

    trainer = make_trainer(kind, tmp_path)
    monkeypatch.setattr(trl_utils, "_ChunkedLogProbFunction", Spy)
    trainer.train()
    rows = list(trainer.train_dataset)
    if kind == "sft":
        answers = sum(label != -100 for row in rows for label in row["labels"])
    else:
        answers = sum(len(row["chosen_ids"]) + len(row["rejected_ids"]) for row in rows)
    assert sum(projected) == answers


def test_a_step_is_cut_where_memory_ends() -> None:
    """At most 10 tokens and 3 examples at once: 6 + 4, 4 + 3 + 2, 1; a longer example than that is alone."""
    held = MicroBatch(tokens=10, examples=3, checkpointing=False)
    assert batches.cut([6, 4, 4, 3, 2, 1], held) == [slice(0, 2), slice(2, 5), slice(5, 6)]
    assert batches.cut([12, 1], held) == [slice(0, 1), slice(1, 2)]


def test_every_rank_gets_long_and_short_examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two ranks take turns at a step's four, from the longest on: the first and third, the second and fourth."""
    trainer = make_trainer("sft", tmp_path)
    length = batches.row_lengths(trainer.train_dataset)
    monkeypatch.setenv("WORLD_SIZE", "2")
    trainer.args.per_device_train_batch_size = 2
    drawn = list(SeedableRandomSampler(range(10), data_seed=3))[:4]
    longest_first = sorted(drawn, key=length.__getitem__, reverse=True)
    order = list(batches.BatchOrder(trainer))
    assert order[:4] == [longest_first[n] for n in (0, 2, 1, 3)]
    assert len(order) == 12 and order[10:] == [order[9]] * 2  # what fills the last step


@pytest.mark.parametrize("kind", ["sft", "dpo"])
def test_how_a_step_is_cut_changes_no_loss(kind: str, tmp_path: Path) -> None:
    """One example at once, two, all, or as many as 100 tokens hold: NLL, too, is a mean over all tokens of the step."""
    found = []
    for number, held in enumerate([(10**9, 1), (10**9, 2), (10**9, 4), (100, 4)]):
        trainer = make_trainer(kind, tmp_path / str(number), nll_weight=0.5)
        trainer.held = MicroBatch(*held, checkpointing=False)
        found.append(losses(trainer))
    for other in found[1:]:
        assert other == pytest.approx(found[0], abs=1e-5)
