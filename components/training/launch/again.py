"""A training made again with another seed, and nothing else changed: the noise that one training carries.

The seed reaches the order of the pairs, the start of a LoRA adapter and dropout. The pairs, the model that training
starts from and the held-out pairs (chosen by their ids) stay.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from components.core.context import open_step
from components.core.errors import UserError
from components.core.hashing import seed_from
from components.core.records import Manifest
from components.core.stage import read_manifest
from components.training.dpo.settings import DpoSettings
from components.training.launch.launch import train_stage
from components.training.launch.request import TrainingRequest


def train_again(run: str, model: str, number: int) -> str:
    """Make the DPO of the stage `model` once more with the seed `number`; returns the URI of the new model's stage.

    It lies in the run's store under its own key and in no registry. Raises UserError as `request_again` does.
    """
    name = f"seed-{number}"
    with open_step(run, f"train again with another seed ({number})") as context:
        recipe = context.recipe
        request = request_again(context.store, model, number, recipe.get("dpo", {}))
        pods = (recipe.get("resources", {}), recipe.get("cluster", {}), context.trainer_image)
        return context.make(f"{name}/dpo", lambda: train_stage(request, *pods, context.run, name))


def request_again(root: str, model: str, number: int, how: Mapping[str, Any]) -> TrainingRequest:
    """The training of the stage `model` with its own settings and inputs, and a seed derived from its own.

    `how` is a section `dpo`, of which only what says how to run is taken. Raises UserError where the model was not made
    by DPO, or where this version would not make the same model with the same seed.
    """
    made = read_manifest(model)
    if made.stage != "dpo":
        raise UserError(
            f"{model} was not made by DPO but by {made.stage}: no round made it that could be trained again",
            "Name the model of a round, M2 or a later one.",
        )
    request = _same_training(root, made, how)
    if request is None:
        raise UserError(
            f"{model} was trained by another version of this pipeline: it would differ by more than its seed",
            f"Use the version that made it ({made.code}), or run the recipe again with this one.",
        )
    seed = seed_from(int(made.settings["seed"]), "training noise", number)
    return request.model_copy(update={"settings": request.settings | {"seed": seed}})


def _same_training(root: str, made: Manifest, how: Mapping[str, Any]) -> TrainingRequest | None:
    """The request that made the stage; None where its key would be another one now."""
    settings = {name: how[name] for name in DpoSettings.non_key_fields if name in how} | made.settings
    inputs = {role: parent.uri for role, parent in made.parents.items()}
    inputs["judge_endpoint"] = inputs.pop("judge", "")
    try:
        request = TrainingRequest(kind="dpo", root=root, settings=settings, inputs=inputs)
        return request if request.stage().key == made.key else None
    except (ValidationError, TypeError):  # a setting, or an input, that this version does not have
        return None
