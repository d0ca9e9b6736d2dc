"""Evaluate a model against another, with a recipe's questions and the gate's policy: what CI runs."""

from typing import Any

from kfp import dsl

from components.core.images import TRAINER, WORKER
from components.evaluation.component import measure
from components.gate.component import comparison
from components.kubernetes.pods import OF_ANNOTATOR, OF_POLICY
from components.run.component import finish
from pipelines.graph.phases import prepare_phase
from pipelines.graph.pods import phase_box, worker_step
from pipelines.recipe import Recipe


def evaluation_pipeline(recipe: Recipe) -> Any:
    """The KFP pipeline; its parameters `model` and `against` are the URIs of two models' stages."""
    prepare, compare = prepare_phase(recipe, roles=("annotator",)), _compare_phase(recipe)

    @dsl.pipeline(name=f"evaluate-{recipe.name}", description=f"Two models compared as {recipe.name} measures them")
    def pipeline(
        store: str,
        tracking_uri: str,
        model: str,
        against: str,
        run: str = "",
        engine: str = "embedded",
        endpoint: str = "",
        judge_endpoint: str = "",
        annotator_endpoint: str = "",
        judge_model: str = "",
        annotator_model: str = "",
        fail_on_regression: bool = False,
        worker_image: str = WORKER,
        trainer_image: str = TRAINER,
        engine_image: str = "",
    ) -> None:
        job = dsl.PIPELINE_JOB_ID_PLACEHOLDER
        report = worker_step(finish(store=store, run=run, job=job), "report", recipe, worker_image)
        with dsl.ExitHandler(report, name="evaluate"):
            opened = prepare(
                store=store,
                run=run,
                job=job,
                tracking_uri=tracking_uri,
                engine=engine,
                endpoint=endpoint,
                judge_endpoint=judge_endpoint,
                annotator_endpoint=annotator_endpoint,
                judge_model=judge_model,
                annotator_model=annotator_model,
                worker_image=worker_image,
                trainer_image=trainer_image,
                engine_image=engine_image,
            )
            models = {"model": model, "against": against, "fail_on_regression": fail_on_regression}
            state = phase_box(opened, "prepare").output
            phase_box(compare(state=state, worker_image=worker_image, **models), "compare")

    return pipeline


def _compare_phase(recipe: Recipe) -> Any:
    """Both models, one after the other; the second is also compared head to head with the first."""

    @dsl.pipeline(name="compare")
    def phase(state: dict, model: str, against: str, fail_on_regression: bool, worker_image: str) -> None:
        opponent = measure(name="against", before=state, model=against, opponent={})
        worker_step(opponent, "measure the model to compare with", recipe, worker_image, OF_POLICY + OF_ANNOTATOR)
        measured = measure(name="model", before=state, model=model, opponent=opponent.output)
        worker_step(measured, "measure the model", recipe, worker_image, OF_POLICY + OF_ANNOTATOR)
        compared = comparison(
            state=state,
            model=model,
            measured=measured.output,
            against=against,
            against_measured=opponent.output,
            fail_on_regression=fail_on_regression,
        )
        worker_step(compared, "compare", recipe, worker_image)

    return phase
