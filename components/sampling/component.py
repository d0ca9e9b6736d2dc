from typing import NamedTuple

from kfp import dsl

from components.core.images import WORKER


@dsl.component(base_image=WORKER, install_kfp_package=False)
def sample(name: str, before: dict, model: str, prompts: list) -> NamedTuple("Sampled", candidates=str, prompts=list):  # type: ignore[valid-type]
    """Mt answers each prompt of its round N times; returns the candidates' URI, and the prompts of all rounds so far.

    Where the policy writes the prompts, it does so now. `prompts` are empty where those of `before` go on.
    """
    from components.core.context import open_step
    from components.prompts.round_prompts import make_round_prompts
    from components.sampling.sampling import sample_candidates
    from components.sampling.settings import SamplingSettings
    from components.serving.served_model import ServedModel

    with open_step(before["run"], f"sample {name.upper()}") as context:
        policy, number = ServedModel(context, name, model), int(name[1:])
        prompts = prompts or before["prompts"]
        if context.recipe["prompts"]["source"] == "policy":
            prompts = [*prompts, make_round_prompts(context, number, before["data"]["seed_data"], prompts, policy)]
        settings, asked = context.section("sampling", SamplingSettings), prompts[number - 1]
        candidates = context.make(
            f"{name}/sampling", lambda: sample_candidates(context.store, settings, model, asked, policy)
        )
        return candidates, prompts
