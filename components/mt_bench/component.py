from kfp import dsl

from components.images import WORKER


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
    from components.mt_bench.answering import answer_questions
    from components.mt_bench.settings import MtBenchSettings
    from components.step import run_stage

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
    endpoint: str,
    metrics: dsl.Output[dsl.Metrics],
) -> str:
    """An annotator (a model stage's URI, or "" for whatever the endpoint serves) grades them; returns the URI."""
    from components.mt_bench.grading import annotator_parent, grade
    from components.mt_bench.settings import MtBenchSettings
    from components.step import run_stage

    return run_stage(
        root,
        run,
        f"{name}/mt_bench",
        lambda: grade(root, MtBenchSettings(**settings), answers, annotator_parent(annotator, endpoint), endpoint),
        metrics,
    )
