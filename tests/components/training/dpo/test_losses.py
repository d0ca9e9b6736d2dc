"""DPO's relatives: what TRL computes with our arguments is their formula, on a policy that has moved."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from components.base_model.base_model import load_tokenizer
from components.core.records import Pair
from components.training.dpo.dpo import make_trainer
from components.training.dpo.losses import loss_arguments
from components.training.dpo.margins import drifts, policy_sums, reference_sums
from components.training.dpo.settings import DpoSettings
from tests.helpers.tiny_model import make_tiny_model

BETA = 0.1
Loss = Callable[[float], float]  # of a pair's margin


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("model"))


def pairs(doubt: float | None = None) -> list[Pair]:
    scores = {"chosen_id": "a", "rejected_id": "b", "chosen_score": 5, "rejected_score": 1}
    one = {"prompt": "add 3", "chosen": "4", "rejected": "no 3"}
    return [Pair(id=str(n), **one, **scores, doubt=doubt) for n in range(2)]


def right(margin: float) -> float:
    """-log sigmoid(margin)."""
    return math.log1p(math.exp(-margin))


def conservative(rate: float) -> Loss:
    """Mitchell 2023: the pair is the wrong way round with this probability."""
    return lambda margin: (1 - rate) * right(margin) + rate * right(-margin)


def robust(rate: float) -> Loss:
    """Chowdhury et al. 2024, 2403.00409."""
    return lambda margin: ((1 - rate) * right(margin) - rate * right(-margin)) / (1 - 2 * rate)


@pytest.mark.parametrize(
    ("settings", "doubt", "loss"),
    [
        ({}, None, conservative(0)),
        ({"label_smoothing": 0.2}, None, conservative(0.2)),
        ({"label_smoothing": 0.2, "loss": "robust"}, None, robust(0.2)),
        ({}, 0.3, conservative(0.3)),
        ({}, 0.5, conservative(0.5)),
        ({}, 0.8, conservative(0.8)),  # rankings that disagree more often than not turn the pairs round
    ],
)
def test_the_loss_is_that_of_the_formula(
    settings: dict[str, Any], doubt: float | None, loss: Loss, model: Path, tmp_path: Path
) -> None:
    """On a policy that prefers a side clearly: with the margin m the loss is as above, and it is none of the others."""
    plain = {"batch_size": 2, "micro_batch_size": 2, "max_length": 96, "held_out": 0, "precision": "fp32", "dropout": 0}
    made = make_trainer(
        model, load_tokenizer(model), pairs(doubt), DpoSettings(**plain, beta=BETA, lora=None, **settings), tmp_path
    )
    at_the_start = batch_loss(made)
    with torch.no_grad():
        torch.manual_seed(1)
        for weight in made.model.parameters():
            weight.add_(0.05 * torch.randn_like(weight))
    rows = made.train_dataset
    margin = drifts(policy_sums(made, rows), reference_sums(rows))[0].margin(BETA)
    assert abs(margin) > 0.01, "else all losses are ln 2"
    assert at_the_start == pytest.approx(math.log(2), abs=1e-4)
    assert batch_loss(made) == pytest.approx(loss(margin), abs=2e-4)


def batch_loss(trainer: Any) -> float:
    rows = [trainer.train_dataset[n] for n in range(2)]
    inputs = trainer._prepare_inputs(trainer.data_collator(rows))
    trainer.model.eval()
    with torch.no_grad():
        return float(trainer.compute_loss(trainer.model, inputs))


def test_the_nll_of_chosen_answers_joins_any_of_them() -> None:
    assert loss_arguments(DpoSettings(nll_weight=0.5), []) == {
        "loss_type": ["sigmoid", "sft"],
        "loss_weights": [1, 0.5],
    }
    both = loss_arguments(DpoSettings(nll_weight=0.5, label_smoothing=0.1), [])
    assert (both["loss_type"], both["loss_weights"]) == (["sigmoid", "robust", "sft"], [1.2, -0.2, 0.5])


def test_a_robust_loss_needs_something_to_be_robust_against() -> None:
    with pytest.raises(ValidationError, match="set label_smoothing above 0"):
        DpoSettings(loss="robust")


def test_they_are_no_part_of_keys_that_are_there() -> None:
    assert not {"loss", "label_smoothing"} & DpoSettings().identity().keys()
    assert {"loss", "label_smoothing"} <= DpoSettings(loss="robust", label_smoothing=0.1).identity().keys()
