from kfp import dsl

from components.core.images import WORKER


@dsl.component(base_image=WORKER, install_kfp_package=False)
def mt_bench_answers(
    root: str,
    run: str,
    name: str,
    settings: dict,
    model: str,
    endpoint: str,
    metrics: dsl.Output[dsl.Metrics],
) -> str:
    """The served model answers MT-Bench's questions, both turns; returns the answers' URI."""
    from components.core.step import run_stage
    from components.evaluation.mt_bench.answering import answer_questions
    from components.evaluation.mt_bench.settings import MtBenchSettings

    return run_stage(
        root,
        run,
        f"{name}/mt_bench_answers",
        lambda: answer_questions(root, MtBenchSettings(**settings), model, endpoint),
        metrics,
    )


@dsl.component(base_image=WORKER, install_kfp_package=False)
def mt_bench(
    root: str,
    run: str,
    name: str,
    settings: dict,
    answers: str,
    annotator: str,
    annotator_endpoint: str,
    endpoint: str,
    metrics: dsl.Output[dsl.Metrics],
) -> str:
    """The annotator grades the answers; returns the grading's URI.

    `endpoint` serves the model `annotator`, unless another annotator answers at `annotator_endpoint`.
    """
    from components.core.records import Manifest
    from components.core.step import run_stage
    from components.evaluation.mt_bench.grading import grade
    from components.evaluation.mt_bench.settings import MtBenchSettings
    from components.serving.completions import answering_model

    def make() -> Manifest:
        url, model = (annotator_endpoint, "") if annotator_endpoint else (endpoint, annotator)
        return grade(root, MtBenchSettings(**settings), answers, answering_model(model, url), url)

    return run_stage(root, run, f"{name}/mt_bench", make, metrics)
