from kfp import dsl

from components.core.images import WORKER


@dsl.component(base_image=WORKER, install_kfp_package=False)
def benchmarks(
    root: str,
    run: str,
    name: str,
    settings: dict,
    model: str,
    endpoint: str,
    metrics: dsl.Output[dsl.Metrics],
) -> str:
    """Run the lm-eval harness against the served model; returns the benchmarks' URI."""
    from components.core.step import run_stage
    from components.evaluation.lm_eval.benchmarks import run_benchmarks
    from components.evaluation.lm_eval.settings import BenchmarksSettings

    return run_stage(
        root,
        run,
        f"{name}/benchmarks",
        lambda: run_benchmarks(root, BenchmarksSettings(**settings), model, endpoint),
        metrics,
    )
