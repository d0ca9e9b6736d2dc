"""The models that a run takes from outside: M0, and where the recipe names them a prompt writer and an annotator."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from components.base_model.base_model import import_model
from components.base_model.settings import BaseModelSettings
from components.core.context import open_step

# Names in the run's journal, and the sections of the recipe.
MODELS = {"base": ("m0", "model"), "writer": ("writer", "writer"), "annotator": ("annotator", "annotator")}


def import_all(state: dict[str, Any], roles: Sequence[str]) -> dict[str, Any]:
    """The run's state (RunState as a KFP parameter) with the URIs of these models among its data.

    `roles` are base (M0), writer and annotator; M0 is also what the recipe names no other model for.
    """
    with open_step(state["run"], "import models") as context:
        models: dict[str, str] = {}
        for role in roles:
            name, section = MODELS[role]
            settings = context.optional(section, BaseModelSettings)
            if settings is None and "base" in models:
                models[role] = models["base"]
                continue
            settings = settings or context.section("model", BaseModelSettings)
            models[role] = context.make(f"{name}/base-model", partial(import_model, context.store, settings))
        return {**state, "data": {**state["data"], **models}}
