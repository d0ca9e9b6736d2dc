"""What is published beside the trained weights: the files of the model that they were."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from components.core.model_files import ADAPTER, model_folder
from components.training.dpo.dpo import DpoInputs, train_dpo
from components.training.sft.sft import fine_tune
from tests.components.training.test_training import base, dpo_settings, seeds, sft_settings, toy_pairs, uri
from tests.helpers.tiny_model import make_tiny_model

pytestmark = pytest.mark.slow
# transformers refuses to write this again once the trainer has set the tokens that end an answer: the sampling of a
# model that does not sample
GENERATION = {"temperature": 0.9, "top_p": 0.6, "eos_token_id": [258, 256]}


def test_a_models_own_files_go_from_model_to_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With all weights trained and saved as fp32, then an adapter merged and saved as bf16."""
    monkeypatch.setenv("SRLM_HOME", str(tmp_path / "home"))
    root, model = str(tmp_path / "store"), make_tiny_model(tmp_path / "model")
    (model / "generation_config.json").write_text(json.dumps(GENERATION))
    (model / "vocab.txt").write_text("of an older tokenizer")
    start = base(root, model)
    full = uri(root, fine_tune(root, sft_settings(max_steps=1), start, seeds(root)))
    lora = dpo_settings(max_steps=1, save_dtype="bfloat16")
    merged = uri(root, train_dpo(root, lora, DpoInputs(full, toy_pairs(root))))
    known = {path.name: path for path in model_folder(start).iterdir()}
    config = json.loads(known["config.json"].read_text())
    for made, dtype in ((full, "float32"), (merged, "bfloat16")):
        own = {path.name: path for path in model_folder(made).iterdir() if path.name != ADAPTER}
        assert own.keys() == known.keys()
        assert json.loads(own["config.json"].read_text()) == config | {"dtype": dtype, "torch_dtype": dtype}
        for name in known.keys() - {"config.json", "model.safetensors"}:
            assert own[name].read_bytes() == known[name].read_bytes(), name
