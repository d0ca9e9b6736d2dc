from kfp import dsl

from components.images import WORKER


@dsl.component(base_image=WORKER, install_kfp_package=False)
def prompts(
    root: str,
    run: str,
    name: str,
    settings: dict,
    writer: str,
    seed_data: str,
    earlier: list,
    endpoint: str,
    metrics: dsl.Output[dsl.Metrics],
) -> str:
    """Write the new prompts of a round; returns their URI."""
    from components.prompts.prompts import write_prompts
    from components.prompts.settings import PromptsSettings
    from components.step import run_stage

    return run_stage(
        root,
        run,
        f"{name}/prompts",
        lambda: write_prompts(root, PromptsSettings(**settings), writer, seed_data, earlier, endpoint),
        metrics,
    )
