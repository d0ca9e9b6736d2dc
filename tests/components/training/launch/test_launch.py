"""Which inputs and settings a round's training has."""

from __future__ import annotations

from pathlib import Path

from components.base_model.settings import BaseModelSettings
from components.core.context import RunContext
from components.core.records import Counts, Parent
from components.core.stage import Stage
from components.pairs.settings import PairsSettings
from components.run.look import looked_at
from components.training.dpo.dpo import DpoInputs, dpo_stage
from components.training.dpo.settings import DpoSettings
from components.training.launch.launch import train_model


def toy(root: str, name: str) -> str:
    stage = Stage(root, "base_model", BaseModelSettings(base=name), {"toy": Parent(uri=name, digest=name)})
    stage.publish(Counts(), {})
    return stage.uri


def pairs(root: str) -> str:
    stage = Stage(root, "pairs", PairsSettings(), {"toy": Parent(uri="toy", digest="toy")})
    stage.publish(Counts(), {})
    return stage.uri


def test_from_round_2_on_the_implicit_reward_is_against_the_model_before(tmp_path: Path) -> None:
    """M2's training, round 1, is the plain loop's and so found again; M3's reads M1 beside M2, M4's reads M2."""
    root = str(tmp_path)
    names = ("store", "run", "tracking_uri", "engine", "endpoint", "judge_endpoint", "annotator_endpoint")
    where = dict.fromkeys((*names, "worker_image", "trainer_image", "engine_image"), "")
    recipe = {"dpo": {"self_consistency": True}, "resources": {}, "cluster": {}, "name": "toy"}
    context = RunContext(**where | {"store": root, "run": "run", "recipe": recipe})
    models, judged = {name: toy(root, name) for name in ("m1", "m2", "m3")}, pairs(root)

    def made(name: str, model: str) -> str:
        return train_model(context.uri, name, "dpo", {"model": models[model], "pairs": judged, "seed_data": ""})

    def key(settings: DpoSettings, model: str, previous: str = "") -> str:
        return dpo_stage(root, settings, DpoInputs(models[model], judged, previous=models.get(previous, ""))).uri

    with looked_at(context) as run:
        run.states.update({name: {"model": uri} for name, uri in models.items()})
        trained = [made("m2", "m1"), made("m3", "m2"), made("m4", "m3")]
    asked = DpoSettings(self_consistency=True)
    assert trained == [key(DpoSettings(), "m1"), key(asked, "m2", "m1"), key(asked, "m3", "m2")]
