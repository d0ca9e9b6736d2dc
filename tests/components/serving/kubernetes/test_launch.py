"""What the engines' launchers are told."""

from __future__ import annotations

import pytest

from components.core.errors import UserError
from components.serving.embedded import __main__ as embedded
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


def test_our_own_server_is_told_of_int8_and_takes_it() -> None:
    told = LAUNCHES["transformers"].arguments(MODEL, ServingSettings(quantize="int8"))
    assert embedded.arguments(told).quantize == "int8"
    assert embedded.arguments(LAUNCHES["transformers"].arguments(MODEL, ServingSettings())).quantize is None


def test_our_own_server_refuses_a_node_without_the_gpus_that_were_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would serve on CPUs without a word; the other engines do not start then. The model is not even looked for."""
    told = LAUNCHES["transformers"].arguments(MODEL, ServingSettings(**GPU))
    monkeypatch.setattr(embedded.torch.cuda, "device_count", lambda: 1)
    with pytest.raises(UserError, match=r"asks for 2 GPUs \(serving.pod.gpus\) and torch sees 1"):
        embedded.start_engine(embedded.arguments(told), embedded.Served("m", None))


@pytest.mark.parametrize(("rank", "room"), [(1, 8), (48, 64), (64, 64), (512, 512)])
def test_vllm_has_room_for_the_next_rank_that_it_knows(rank: int, room: int) -> None:
    """It refuses others; without a rank it takes no adapters."""
    assert f"--max-lora-rank={room}" in LAUNCHES["vllm"].arguments(MODEL, ServingSettings(adapter_rank=rank))
    assert "--enable-lora" not in LAUNCHES["vllm"].arguments(MODEL, ServingSettings())
