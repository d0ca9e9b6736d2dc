"""What the engines' launchers are told."""

from __future__ import annotations

import pytest

from components.serving.kubernetes.launch import LAUNCHES, ServedModel
from components.serving.settings import ServingSettings

MODEL = ServedModel("s3://bucket/model", "d1", "/models/m")


def test_vllm_draws_what_the_recipe_says() -> None:
    """Its default, auto, takes top_p, top_k and repetition_penalty from the model's own generation_config.json."""
    assert "--generation-config=vllm" in LAUNCHES["vllm"].arguments(MODEL, ServingSettings())


@pytest.mark.parametrize("engine", ["transformers", "tgi"])
def test_the_others_have_no_such_default(engine: str) -> None:
    assert not [one for one in LAUNCHES[engine].arguments(MODEL, ServingSettings()) if "generation" in one]
