from kfp import dsl

from components.core.images import WORKER


@dsl.component(base_image=WORKER, install_kfp_package=False)
def sampling(
    root: str,
    run: str,
    name: str,
    settings: dict,
    model: str,
    prompts: str,
    endpoint: str,
    metrics: dsl.Output[dsl.Metrics],
) -> str:
    """Mt answers each prompt N times; returns the candidates' URI."""
    from components.core.step import run_stage
    from components.sampling.sampling import sample_candidates
    from components.sampling.settings import SamplingSettings

    return run_stage(
        root,
        run,
        f"{name}/sampling",
        lambda: sample_candidates(root, SamplingSettings(**settings), model, prompts, endpoint),
        metrics,
    )
