from kfp import dsl

from components.core.images import WORKER


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
    """Write the new prompts of a round, or take them from a file; returns their URI."""
    from components.core.step import run_stage
    from components.prompts.pool import take_prompts
    from components.prompts.prompts import write_prompts
    from components.prompts.settings import PromptsSettings

    wanted = PromptsSettings(**settings)
    return run_stage(
        root,
        run,
        f"{name}/prompts",
        lambda: (
            take_prompts(root, wanted, earlier)
            if wanted.source == "file"
            else write_prompts(root, wanted, writer, seed_data, earlier, endpoint)
        ),
        metrics,
    )
