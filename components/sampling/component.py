from typing import NamedTuple

from kfp import dsl

from components.core.images import WORKER


@dsl.component(base_image=WORKER, install_kfp_package=False)
def sample(name: str, before: dict, model: str, prompts: list) -> NamedTuple("Sampled", candidates=str, prompts=list):  # type: ignore[valid-type]
    """Mt answers each prompt of its round N times; returns the candidates' URI, and all rounds' prompts so far."""
    from components.sampling.sampling import sample_model

    return sample_model(name, before, model, prompts)
