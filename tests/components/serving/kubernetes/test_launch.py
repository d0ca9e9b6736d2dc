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


GPU = {"pod": {"gpus": 2}}


@pytest.mark.parametrize("engine", ["tgi", "vllm"])
def test_a_model_is_served_in_bf16_whatever_its_files_hold(engine: str) -> None:
    """Rounds hand weights over in fp32: there TGI, and vLLM's own auto, would take fp16."""
    for dtype in ("auto", "bfloat16"):
        settings = ServingSettings(dtype=dtype, **GPU)
        assert "--dtype=bfloat16" in LAUNCHES[engine].arguments(MODEL, settings)


def test_what_the_recipe_says_comes_first() -> None:
    assert "--dtype=float32" in LAUNCHES["vllm"].arguments(MODEL, ServingSettings(dtype="float32", **GPU))
    assert "--dtype=float32" in LAUNCHES["vllm"].arguments(MODEL, ServingSettings())  # auto without a GPU


def test_tgi_refuses_a_data_type_beside_a_quantization() -> None:
    arguments = LAUNCHES["tgi"].arguments(MODEL, ServingSettings(quantize="fp8", **GPU))
    assert "--quantize=fp8" in arguments
    assert not [one for one in arguments if one.startswith("--dtype")]
