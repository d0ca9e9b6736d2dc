from kfp import dsl

from components.core.images import WORKER


@dsl.component(base_image=WORKER, install_kfp_package=False)
def eft(before: dict, model: str) -> str:
    """Make the EFT examples, which teach M1 to judge; returns their URI."""
    from components.eft.eft import make_examples

    return make_examples(before, model)
