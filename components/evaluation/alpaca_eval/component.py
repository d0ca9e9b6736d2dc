from kfp import dsl

from components.core.images import WORKER


@dsl.component(base_image=WORKER, install_kfp_package=False)
def annotation(
    root: str,
    run: str,
    name: str,
    settings: dict,
    evaluation: str,
    opponent: str,
    instructions: str,
    annotator: str,
    annotator_endpoint: str,
    endpoint: str,
    metrics: dsl.Output[dsl.Metrics],
) -> str:
    """Compare a model's answers with reference outputs and with the model before; returns the annotation's URI.

    `endpoint` serves the model `annotator`, unless another annotator answers at `annotator_endpoint`.
    """
    from components.core.step import run_stage
    from components.evaluation.alpaca_eval.annotation import Annotator, make_annotations
    from components.evaluation.alpaca_eval.settings import AnnotationSettings

    who = Annotator(annotator_endpoint) if annotator_endpoint else Annotator(endpoint, annotator)
    return run_stage(
        root,
        run,
        f"{name}/annotation",
        lambda: make_annotations(root, AnnotationSettings(**settings), name, evaluation, opponent, instructions, who),
        metrics,
    )
