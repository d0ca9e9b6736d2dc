from kfp import dsl

from components.core.images import WORKER


@dsl.component(base_image=WORKER, install_kfp_package=False)
def judging(
    root: str,
    run: str,
    name: str,
    settings: dict,
    model: str,
    candidates: str,
    endpoint: str,
    judge_endpoint: str,
    metrics: dsl.Output[dsl.Metrics],
) -> str:
    """Judge each candidate K times, by Mt or by an external judge; returns the judgements' URI."""
    from components.core.step import run_stage
    from components.judging.judging import judge_candidates
    from components.judging.settings import JudgingSettings

    return run_stage(
        root,
        run,
        f"{name}/judging",
        lambda: judge_candidates(root, JudgingSettings(**settings), model, candidates, endpoint, judge_endpoint),
        metrics,
    )
