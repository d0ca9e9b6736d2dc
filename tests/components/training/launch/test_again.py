"""A training again with another seed: what the seed reaches, what it leaves, and what cannot be trained again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from components.core import stage as core_stage
from components.core.errors import UserError
from components.core.model_files import model_folder
from components.core.records import CurvePoint, Observation
from components.core.stage import find_manifest, read_records
from components.training.launch.again import request_again
from components.training.launch.request import TrainingRequest
from tests.components.training.test_several_processes import LORA, Toy

pytestmark = pytest.mark.slow


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Toy:
    monkeypatch.setenv("SRLM_HOME", str(tmp_path / "home"))
    return Toy(tmp_path)


def made(toy: Toy, **changes: Any) -> TrainingRequest:
    request = toy.dpo(**changes)
    request.make()
    return request


def weights(request: TrainingRequest) -> dict[str, torch.Tensor]:
    return AutoModelForCausalLM.from_pretrained(model_folder(request.stage().uri)).state_dict()


def distance(one: TrainingRequest, other: TrainingRequest) -> float:
    ours, theirs = weights(one), weights(other)
    return max(float((ours[name] - theirs[name]).abs().max()) for name in ours)


def test_only_the_seed_differs_and_it_is_the_same_each_time(toy: Toy) -> None:
    """Same policy, pairs and held-out pairs; another seed, key and model; and no two numbers have one seed."""
    own = made(toy, held_out=0.25, min_held_out=2)
    uri = own.stage().uri
    first, second, third = (request_again(toy.root, uri, number, {}) for number in (1, 1, 2))
    assert first == second
    assert first.inputs | {"judge_endpoint": ""} == own.inputs | {"judge_endpoint": ""}
    seeds = [request.settings.pop("seed") for request in (first, third)]
    assert len({*seeds, own.settings["seed"]}) == 3
    assert first.settings == third.settings
    again = first.model_copy(update={"settings": first.settings | {"seed": seeds[0]}})
    assert again.stage().key != own.stage().key
    again.make()
    assert distance(own, again) > 1e-3
    watched, as_well = (
        {one.item for one in read_records(request.stage().uri, "observations", Observation)} for request in (own, again)
    )
    assert watched == as_well and len(watched) == 3


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"lora": None}, id="the order of the pairs"),
        pytest.param({"lora": LORA, "batch_size": 12, "micro_batch_size": 12}, id="the start of the adapter"),
        pytest.param({"lora": None, "dropout": 0.1, "batch_size": 12, "micro_batch_size": 12}, id="dropout"),
    ],
)
def test_what_the_seed_reaches(toy: Toy, changes: dict[str, Any]) -> None:
    own = made(toy, **changes)
    again = request_again(toy.root, own.stage().uri, 1, {})
    again.make()
    assert distance(own, again) > 1e-3


def test_with_all_pairs_in_a_step_and_nothing_drawn_the_seed_reaches_rounding_alone(toy: Toy) -> None:
    """The order within a step changes a sum's rounding; SGD, as Adam makes a step of any size out of any gradient."""
    whole = {"lora": None, "batch_size": 12, "micro_batch_size": 12, "optimizer": "sgd", "learning_rate": 0.1}
    own = made(toy, **whole)
    again = request_again(toy.root, own.stage().uri, 1, {})
    again.make()
    first = [read_records(request.stage().uri, "curve", CurvePoint)[-1].values["loss"] for request in (own, again)]
    assert first[0] == pytest.approx(first[1], abs=1e-5)
    assert distance(own, again) < 1e-5


def test_what_only_says_how_to_run_comes_from_the_recipe(toy: Toy) -> None:
    own = made(toy, max_steps=1)
    again = request_again(toy.root, own.stage().uri, 1, {"sharding": "none", "learning_rate": 0.5})
    assert again.settings["sharding"] == "none"
    assert again.settings["learning_rate"] == own.settings["learning_rate"]


def test_a_model_of_sft_has_no_round_to_train_again(toy: Toy) -> None:
    request = toy.sft(max_steps=1)
    request.make()
    with pytest.raises(UserError, match="not made by DPO but by sft") as refused:
        request_again(toy.root, request.stage().uri, 1, {})
    assert "M2 or a later one" in refused.value.remedy


@pytest.mark.parametrize("unknown", [False, True])
def test_a_model_of_another_version_is_refused(toy: Toy, monkeypatch: pytest.MonkeyPatch, unknown: bool) -> None:
    """DPO makes something else now, or had a setting that is gone: not the seed alone would differ."""
    own = made(toy, max_steps=1)
    uri = own.stage().uri
    if unknown:
        manifest = find_manifest(uri)
        assert manifest
        old = manifest.model_copy(update={"settings": manifest.settings | {"loss": "hinge"}})
        (Path(uri) / core_stage.MANIFEST).write_text(old.model_dump_json())
    else:
        monkeypatch.setitem(core_stage.VERSIONS, "dpo", core_stage.VERSIONS["dpo"] + 1)
    with pytest.raises(UserError, match="another version of this pipeline"):
        request_again(toy.root, uri, 1, {})
