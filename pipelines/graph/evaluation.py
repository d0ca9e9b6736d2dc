"""Evaluate a model against another, with a recipe's questions and the gate's policy: what CI runs."""

from typing import Any

from kfp import dsl

from components.core.images import TRAINER, WORKER
from components.gate.component import comparison
from components.run.component import finish, open_run
from components.seed_data.component import seed_data
from pipelines.graph.self_rewarding import import_instructions, import_model, import_questions
from pipelines.graph.served_model import MeasuredWith, Place, ServedModel, set_up, uncached
from pipelines.recipe import Recipe


def evaluation_pipeline(recipe: Recipe) -> Any:
    """The KFP pipeline; its parameters `model` and `against` are the URIs of two models' stages."""
    both = _both(recipe)

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
        fail_on_regression: bool = False,
        worker_image: str = WORKER,
        trainer_image: str = TRAINER,
        engine_image: str = "",
    ) -> None:
        job = dsl.PIPELINE_JOB_ID_PLACEHOLDER
        last = finish(root=store, run=run, job=job, tracking_uri=tracking_uri, engine=engine, endpoint=endpoint)
        with dsl.ExitHandler(set_up(last, recipe.cluster, worker_image), name="run"):
            whole = both(
                store=store,
                run=run,
                job=job,
                tracking_uri=tracking_uri,
                model=model,
                against=against,
                engine=engine,
                endpoint=endpoint,
                judge_endpoint=judge_endpoint,
                annotator_endpoint=annotator_endpoint,
                fail_on_regression=fail_on_regression,
                worker_image=worker_image,
                trainer_image=trainer_image,
                engine_image=engine_image,
            )
            uncached(whole)

    return pipeline


def _both(recipe: Recipe) -> Any:
    """Both models, one after the other: images given as parameters only reach tasks at the top of a pipeline."""

    @dsl.pipeline(name="evaluate")
    def evaluate(
        store: str,
        run: str,
        job: str,
        tracking_uri: str,
        model: str,
        against: str,
        engine: str,
        endpoint: str,
        judge_endpoint: str,
        annotator_endpoint: str,
        fail_on_regression: bool,
        worker_image: str,
        trainer_image: str,
        engine_image: str,
    ) -> None:
        endpoints = {"endpoint": endpoint, "judge_endpoint": judge_endpoint, "annotator_endpoint": annotator_endpoint}
        where = {"tracking_uri": tracking_uri, "engine": engine, **endpoints}
        images = {"worker_image": worker_image, "engine_image": engine_image}
        opened = open_run(root=store, run=run, job=job, recipe=recipe.to_dict(), **where)
        name = set_up(opened, recipe.cluster, worker_image).outputs["Output"]
        place = Place(recipe.cluster, store=store, run=name, trainer_image=trainer_image, **where, **images)
        seeds = place.worker(seed_data(settings=recipe.data.to_dict(), **place.stage())).outputs["Output"]
        base = import_model(place, "annotator", recipe.annotator or recipe.model)
        data = MeasuredWith(seeds, import_instructions(place, recipe), import_questions(place, recipe), base)
        first = ServedModel(place, recipe, "against", against, data)
        first.start({}, [])
        opponent = first.measure()
        first.stop()
        first.compare()
        second = ServedModel(place, recipe, "model", model, data, opponent)
        second.start({}, [], after=[first.stopped])
        second.measure()
        second.stop()
        second.compare()
        place.worker(
            comparison(
                settings=recipe.gate.to_dict(),
                model=model,
                measured=second.measured,
                against=against,
                against_measured=first.measured,
                fail_on_regression=fail_on_regression,
                **place.stage(),
            )
        )

    return evaluate
