"""The whole loop: seed data -> SFT baseline and M1 -> rounds -> the last model (Yuan et al. 2024, section 2)."""

from typing import Any

from kfp import dsl

from components.base_model.component import base_model
from components.base_model.settings import BaseModelSettings
from components.eft.component import eft
from components.images import TRAINER, WORKER
from components.report.component import report
from components.seed_data.component import seed_data
from components.serving.component import cleanup, open_run, serve, unserve
from components.sft.component import sft
from pipelines.recipe import Recipe
from pipelines.round import round_pipeline, write_round_prompts
from pipelines.steps import Place, ServedModel, uncached


def self_rewarding_pipeline(recipe: Recipe) -> Any:
    """The KFP pipeline of a recipe. What to do is compiled in; where it happens are its parameters."""
    loop = _loop(recipe)

    @dsl.pipeline(name=recipe.name, description=recipe.description)
    def pipeline(
        store: str,
        tracking_uri: str,
        run: str = "",
        engine: str = "embedded",
        endpoint: str = "",
        judge_endpoint: str = "",
        worker_image: str = WORKER,
        trainer_image: str = TRAINER,
    ) -> None:
        job = dsl.PIPELINE_JOB_ID_PLACEHOLDER
        free = uncached(cleanup(run=run, job=job, engine=engine, endpoint=endpoint))
        with dsl.ExitHandler(free, name="run"):
            loop(
                store=store,
                run=run,
                job=job,
                tracking_uri=tracking_uri,
                engine=engine,
                endpoint=endpoint,
                judge_endpoint=judge_endpoint,
                worker_image=worker_image,
                trainer_image=trainer_image,
            )

    return pipeline


def _loop(recipe: Recipe) -> Any:
    """The loop as a pipeline of its own: images given as parameters only reach tasks at the top of a pipeline."""
    rounds = [round_pipeline(recipe, number) for number in range(1, recipe.rounds + 1)]
    last_name = f"m{recipe.rounds + 1}"

    @dsl.pipeline(name="loop")
    def loop(
        store: str,
        run: str,
        job: str,
        tracking_uri: str,
        engine: str,
        endpoint: str,
        judge_endpoint: str,
        worker_image: str,
        trainer_image: str,
    ) -> None:
        opened = uncached(
            open_run(
                root=store,
                run=run,
                job=job,
                recipe=recipe.plain(),
                tracking_uri=tracking_uri,
                engine=engine,
                endpoint=endpoint,
                judge_endpoint=judge_endpoint,
            )
        )
        opened.set_container_image(worker_image)
        place = Place(
            store, opened.outputs["Output"], tracking_uri, engine, endpoint, judge_endpoint, worker_image, trainer_image
        )
        seeds = place.worker(seed_data(settings=recipe.data.plain(), **place.stage())).outputs["Output"]
        base = _import_model(place, recipe, "m0", recipe.model)
        writer = _import_model(place, recipe, "writer", recipe.writer) if recipe.writer else base
        baseline = _fine_tune(place, recipe, "sft", base, seeds).outputs["Output"]
        targets, opponent, measured, registered = _measure_baseline(place, recipe, baseline, seeds)
        trained = _fine_tune(place, recipe, "m1", base, seeds, targets).after(measured)  # the server's memory is free
        model = trained.outputs["Output"]
        written, stopped = _write_all_prompts(place, recipe, writer, seeds, after=trained)
        versions = [registered.outputs["Output"]]
        for number, one_round in enumerate(rounds, 1):
            fixed = recipe.prompts.source != "policy"
            done = one_round(
                **place.arguments(),
                model=model,
                seed_data=seeds,
                opponent=opponent,
                new_prompts=written[number - 1] if fixed else "",
                earlier_prompts=[] if fixed else list(written),
            ).after(registered, *stopped)  # versions are numbered in the order of the models
            model, opponent = done.outputs["model"], done.outputs["evaluation"]
            versions.append(done.outputs["version"])
            if not fixed:
                written.append(done.outputs["prompts"])
        versions.append(_measure_last(place, recipe, last_name, model, seeds, opponent))
        place.worker(report(tracking_uri=tracking_uri, registered=versions, **place.stage()))

    return loop


def _import_model(place: Place, recipe: Recipe, name: str, settings: BaseModelSettings) -> Any:
    return place.trainer(base_model(name=name, settings=settings.plain(), **place.stage()), recipe).outputs["Output"]


def _fine_tune(place: Place, recipe: Recipe, name: str, base: Any, seeds: Any, targets: Any = "") -> Any:
    task = sft(name=name, settings=recipe.sft.plain(), base=base, seed_data=seeds, eft=targets, **place.stage())
    return place.trainer(task, recipe)


def _measure_baseline(place: Place, recipe: Recipe, baseline: Any, seeds: Any) -> tuple[Any, Any, Any, Any]:
    """Serve the SFT baseline once: it is measured, and writes the EFT targets where the recipe has a model do that."""
    by_model = recipe.eft.source == "model"
    served = ServedModel(place, recipe, "sft", baseline, seeds)
    served.start({"eft": recipe.eft.plain(), "judge_prompt": recipe.judging.prompt} if by_model else {}, [])
    evaluated = served.measure()
    targets = place.worker(
        eft(
            settings=recipe.eft.plain(),
            judge_prompt=recipe.judging.prompt,
            seed_data=seeds,
            model=baseline if by_model else "",
            endpoint=served.endpoint if by_model else "",
            **place.stage(),
        )
    ).outputs["Output"]
    stopped = served.stop(evaluated, *([targets] if by_model else []))
    return targets, evaluated, stopped, served.register()


def _write_all_prompts(
    place: Place, recipe: Recipe, writer: Any, seeds: Any, after: Any
) -> tuple[list[Any], list[Any]]:
    """The prompts of all rounds where they do not depend on the policy, and the tasks to wait for before going on.

    A fixed writer is served once for all of them.
    """
    if recipe.prompts.source == "policy":
        return [], []
    if recipe.prompts.source == "file":
        return _prompts_of_all_rounds(place, recipe, writer, seeds, ""), []
    server = place.worker(
        serve(
            name="writer",
            settings=recipe.serving.plain(),
            model=writer,
            inputs=[seeds],
            work={"prompts": recipe.prompts.plain(), "rounds": recipe.rounds},
            **place.stage(),
            **place.server(),
        )
    ).after(after)  # one server at a time on a small machine
    written = _prompts_of_all_rounds(place, recipe, writer, seeds, server.outputs["endpoint"])
    note = server.outputs["note"]
    stopped = unserve(run=place.run, name="writer", note=note, finished=list(written), **place.server())
    return written, [place.worker(stopped)]


def _prompts_of_all_rounds(place: Place, recipe: Recipe, writer: Any, seeds: Any, endpoint: Any) -> list[Any]:
    written: list[Any] = []
    for number in range(1, recipe.rounds + 1):
        written.append(write_round_prompts(place, recipe, number, writer, seeds, list(written), endpoint))
    return written


def _measure_last(place: Place, recipe: Recipe, name: str, model: Any, seeds: Any, opponent: Any) -> Any:
    """The last model is served for its evaluation alone; returns its version in the registry."""
    served = ServedModel(place, recipe, name, model, seeds, opponent)
    served.start({}, [])
    evaluated = served.measure()
    served.stop(evaluated)
    return served.register().outputs["Output"]
