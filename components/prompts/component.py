from kfp import dsl

from components.core.images import WORKER


@dsl.component(base_image=WORKER, install_kfp_package=False)
def write_prompts(before: dict, rounds: int) -> list:
    """The prompts of all rounds, where they do not depend on the policy; returns their URIs, the first round's first.

    They come from a file, or from a fixed writer, which is served once for all of them.
    """
    from components.core.context import open_step
    from components.prompts.round_prompts import make_round_prompts
    from components.serving.served_model import ServedModel

    data = before["data"]
    with open_step(before["run"], "write the prompts") as context:
        writer = ServedModel(context, "writer", data["writer"])
        prompts: list[str] = []
        for number in range(1, rounds + 1):
            prompts.append(make_round_prompts(context, number, data["seed_data"], prompts, writer))
        writer.stop()
        return prompts
