from kfp import dsl

from components.core.images import WORKER


@dsl.component(base_image=WORKER, install_kfp_package=False)
def write_all_prompts(before: dict, rounds: int) -> list:
    """Make the prompts of all rounds; returns their URIs, the first round's first."""
    from components.prompts.prompts import make_all_prompts

    return make_all_prompts(before, rounds)
