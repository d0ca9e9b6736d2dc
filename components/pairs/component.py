from kfp import dsl

from components.core.images import WORKER


@dsl.component(base_image=WORKER, install_kfp_package=False)
def pair(before: dict) -> str:
    """Best against worst of each prompt of the model before; returns the preference pairs' URI."""
    from components.pairs.pairs import pair_candidates

    return pair_candidates(before)
