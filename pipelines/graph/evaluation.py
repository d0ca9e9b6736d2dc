"""Evaluate a model against another, with a recipe's questions and the gate's policy: what CI runs."""

from typing import Any, NamedTuple

from kfp import dsl

from components.core.images import TRAINER, WORKER
from components.evaluation.component import measure
from components.gate.component import comparison, noise
from components.kubernetes.pods import OF_ANNOTATOR, OF_POLICY
from components.run.component import finish
from components.training.launch.component import dpo_again
from pipelines.graph.phases import prepare_phase
from pipelines.graph.pods import phase_box, placed_step, training_step, worker_step
from pipelines.recipe import Recipe


class Compared(NamedTuple):
    measured: dict
    against_measured: dict


def evaluation_pipeline(recipe: Recipe, seeds: int = 0) -> Any:
    """The KFP pipeline; its parameters `model` and `against` are the URIs of two models' stages.

    With `seeds` the model, which DPO must have made, is trained again so many times and measured each time.
    """
    prepare, compare = prepare_phase(recipe, roles=("annotator",)), _compare_phase(recipe)
    again = [_again_phase(recipe, number) for number in range(1, seeds + 1)]

    @dsl.pipeline(name=f"evaluate-{recipe.name}", description=f"Two models compared as {recipe.name} measures them")
    def pipeline(
        model: str,
        against: str,
        store: str = "",
        tracking_uri: str = "",
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
        """Besides the two models all may stay as they are where the chart is installed.

        Args:
            model: URI of the stage of the model that is measured
            against: URI of the stage of the model that it is compared with
            store: s3://bucket/prefix for all that is made; empty: the chart's
            tracking_uri: the MLflow server; empty: the chart's
        """
        job = dsl.PIPELINE_JOB_ID_PLACEHOLDER
        report = placed_step(finish(store=store, run=run, job=job), "report", recipe, worker_image)
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
            compared = phase_box(compare(state=state, worker_image=worker_image, **models), "compare")
            both, last = compared.outputs, compared
            for number, phase in enumerate(again, 1):
                images = {"worker_image": worker_image, "trainer_image": trainer_image}
                trained = phase(state=state, model=model, opponent=both["against_measured"], **images).after(last)
                last = phase_box(trained, f"seed {number}")  # one after the other: each may take all GPUs
            if again:
                shown = noise(state=state, seeds=seeds, model=model, against=against, **both).after(last)
                worker_step(shown, "compare the trainings", recipe, worker_image)

    return pipeline


def _compare_phase(recipe: Recipe) -> Any:
    """Both models, one after the other; the second is also compared head to head with the first."""

    @dsl.pipeline(name="compare")
    def phase(state: dict, model: str, against: str, fail_on_regression: bool, worker_image: str) -> Compared:
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
        return Compared(measured.output, opponent.output)

    return phase


def _again_phase(recipe: Recipe, number: int) -> Any:
    """The model's training with another seed, measured as the model was."""
    name = f"seed-{number}"

    @dsl.pipeline(name=name)
    def phase(state: dict, model: str, opponent: dict, worker_image: str, trainer_image: str) -> None:
        trained = dpo_again(state=state, model=model, number=number)
        again = training_step(trained, "train again", recipe, trainer_image).output
        measured = measure(name=name, before=state, model=again, opponent=opponent)
        worker_step(measured, "measure", recipe, worker_image, OF_POLICY + OF_ANNOTATOR)

    return phase
