"""What is learned of a conversation: the last answer, after all that was said before it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from components.base_model.base_model import load_tokenizer
from components.core.records import Example, Pair
from components.training.dpo import dpo
from components.training.dpo.settings import DpoSettings
from components.training.sft import sft
from components.training.sft.settings import SftSettings
from tests.helpers.tiny_model import make_tiny_model

SETTINGS: dict[str, Any] = {"batch_size": 1, "micro_batch_size": 1, "max_length": 256, "dropout": 0, "held_out": 0}
HISTORY = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Name a river."},
    {"role": "assistant", "content": "The Po."},
]
TEXT = (
    "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nName a river.<|im_end|>\n"
    "<|im_start|>assistant\nThe Po.<|im_end|>\n<|im_start|>user\nAnother one?<|im_end|>\n<|im_start|>assistant\n"
)
END = "<|im_end|>\n"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("model"))


def test_sft_learns_the_last_answer_alone(model: Path, tmp_path: Path) -> None:
    tokenizer = load_tokenizer(model)
    settings = SftSettings(**{name: value for name, value in SETTINGS.items() if name != "held_out"})
    example = Example(id="e", kind="ift", prompt="Another one?", completion="The Rhine.", history=HISTORY)
    rows, _ = sft.training_rows([example], tokenizer, settings)
    batch = next(iter(sft.make_trainer(model, tokenizer, rows, settings, tmp_path).get_train_dataloader()))
    labels = batch["labels"][0]
    assert tokenizer.decode(labels[labels != -100]) == "The Rhine." + END
    assert tokenizer.decode(batch["input_ids"][0]) == TEXT + "The Rhine." + END


def test_dpo_compares_two_last_answers(model: Path, tmp_path: Path) -> None:
    tokenizer = load_tokenizer(model)
    scores = {"chosen_id": "a", "rejected_id": "b", "chosen_score": 5, "rejected_score": 1}
    pair = Pair(id="p", prompt="Another one?", chosen="The Rhine.", rejected="No.", history=HISTORY, **scores)
    trainer = dpo.make_trainer(model, tokenizer, [pair], DpoSettings(**SETTINGS), tmp_path)
    batch = next(iter(trainer.get_train_dataloader()))
    texts = [
        tokenizer.decode(ids[mask.bool()])
        for ids, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True)
    ]
    learned = [
        tokenizer.decode(ids[mask.bool()])
        for ids, mask in zip(batch["input_ids"], batch["completion_mask"], strict=True)
    ]
    assert learned == ["The Rhine." + END, "No." + END]
    assert texts == [TEXT + answer for answer in learned]
