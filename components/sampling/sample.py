"""The step in which Mt answers the prompts of its round."""

from __future__ import annotations

from typing import Any

from components.core.context import open_step
from components.prompts.round_prompts import make_round_prompts
from components.sampling.sampling import sample_candidates
from components.sampling.settings import SamplingSettings
from components.serving.engines.served_model import ServedModel


def sample_model(name: str, before: dict[str, Any], model: str, prompts: list[str]) -> tuple[str, list[str]]:
    """Returns the candidates' URI and those of the prompts of all rounds so far.

    Where the policy writes the prompts, it does so now. `prompts` are empty where those of `before` go on.
    """
    with open_step(before["run"], f"sample {name.upper()}") as context:
        policy, number = ServedModel(context, name, model), int(name[1:])
        prompts = prompts or before["prompts"]
        if context.recipe["prompts"]["source"] == "policy":
            written = make_round_prompts(context, number, before["data"]["seed_data"], prompts, policy)
            prompts = [*prompts, written]
        settings, own = context.section("sampling", SamplingSettings), prompts[number - 1]
        candidates = context.make(
            f"{name}/sampling", lambda: sample_candidates(context.store, settings, model, own, policy)
        )
        return candidates, prompts
