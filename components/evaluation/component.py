from kfp import dsl

from components.core.images import WORKER


@dsl.component(base_image=WORKER, install_kfp_package=False)
def evaluation(
    root: str,
    run: str,
    name: str,
    settings: dict,
    model: str,
    seed_data: str,
    instructions: str,
    questions: str,
    endpoint: str,
    metrics: dsl.Output[dsl.Metrics],
) -> str:
    """Measure the served model; returns the evaluation's URI."""
    from components.core.step import run_stage
    from components.evaluation.evaluation import EvaluationInputs, evaluate
    from components.evaluation.settings import EvaluationSettings

    inputs = EvaluationInputs(model, seed_data, instructions, questions)
    return run_stage(
        root,
        run,
        f"{name}/evaluation",
        lambda: evaluate(root, EvaluationSettings(**settings), inputs, endpoint),
        metrics,
    )
