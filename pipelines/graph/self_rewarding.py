"""The whole loop: seed data -> SFT baseline and M1 -> rounds -> the last model (Yuan et al. 2024, section 2)."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from kfp import dsl

from components.base_model.component import base_model
from components.base_model.settings import BaseModelSettings
from components.core.images import TRAINER, WORKER
from components.eft.component import eft
from components.evaluation.alpaca_eval.instructions_component import instructions
from components.evaluation.exact_answers.component import questions
from components.run.component import finish, open_run
from components.seed_data.component import seed_data
from components.training.sft.component import sft
from pipelines.graph.round import DECISION, judging_pipeline, last_pipeline, training_pipeline, write_round_prompts
from pipelines.graph.served_model import MeasuredWith, Place, ServedModel, set_up, uncached
from pipelines.recipe import Recipe


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
        annotator_endpoint: str = "",
        worker_image: str = WORKER,
        trainer_image: str = TRAINER,
        engine_image: str = "",
    ) -> None:
        job = dsl.PIPELINE_JOB_ID_PLACEHOLDER
        last = finish(root=store, run=run, job=job, tracking_uri=tracking_uri, engine=engine, endpoint=endpoint)
        with dsl.ExitHandler(set_up(last, recipe.cluster, worker_image), name="run"):
            whole = loop(
                store=store,
                run=run,
                job=job,
                tracking_uri=tracking_uri,
                engine=engine,
                endpoint=endpoint,
                judge_endpoint=judge_endpoint,
                annotator_endpoint=annotator_endpoint,
                worker_image=worker_image,
                trainer_image=trainer_image,
                engine_image=engine_image,
            )
            uncached(whole)

    return pipeline


def _loop(recipe: Recipe) -> Any:
    """The loop as a pipeline of its own: images given as parameters only reach tasks at the top of a pipeline."""
    rounds = Rounds(recipe)

    @dsl.pipeline(name="loop")
    def loop(
        store: str,
        run: str,
        job: str,
        tracking_uri: str,
        engine: str,
        endpoint: str,
        judge_endpoint: str,
        annotator_endpoint: str,
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
        asked = import_instructions(place, recipe)
        base = import_model(place, "m0", recipe.model)
        writer = import_model(place, "writer", recipe.writer) if recipe.writer else base
        annotator = import_model(place, "annotator", recipe.annotator) if recipe.annotator else base
        data = MeasuredWith(seeds, asked, import_questions(place, recipe), annotator)
        baseline = _fine_tune(place, recipe, "sft", base, seeds).outputs["Output"]
        targets, opponent, measured = _measure_baseline(place, recipe, baseline, data)
        trained = _fine_tune(place, recipe, "m1", base, seeds, targets).after(measured)  # the server's memory is free
        written, stopped = _write_all_prompts(place, recipe, writer, seeds, after=trained)
        state = State(trained.outputs["Output"], opponent, written)
        rounds.run(place, data, state, after=[measured, *stopped])

    return loop


@dataclass(frozen=True)
class State:
    """What a round starts from: Mt, the evaluation of the model before it, the prompts, what the gate compares with.

    The SFT baseline is M1's opponent, but no judge that M1 could be compared with.
    """

    model: Any
    opponent: Any
    written: list[Any]
    previous_evaluation: Any = ""
    previous_annotation: Any = ""
    previous_judgements: Any = ""

    def arguments(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name != "written"}


class Rounds:
    """The rounds of a recipe, each inside the condition that the gate did not stop the one before."""

    def __init__(self, recipe: Recipe) -> None:
        # nested pipelines must be made before the pipeline that holds them
        self.recipe = recipe
        numbers = range(1, recipe.rounds + 1)
        self.judge = {number: judging_pipeline(recipe, number) for number in numbers}
        self.train = {number: training_pipeline(recipe, number) for number in numbers}
        self.measure = last_pipeline(recipe)

    def run(self, place: Place, data: MeasuredWith, state: State, number: int = 1, after: Sequence[Any] = ()) -> None:
        """Round `number` and, if the gate lets them, all that follow; then the last model's measurements."""
        common = {**place.arguments(), **data.arguments(), **state.arguments()}
        if number > self.recipe.rounds:
            uncached(self.measure(**common))
            return
        fixed = self.recipe.prompts.source != "policy"
        judged = self.judge[number](
            **common,
            new_prompts=state.written[number - 1] if fixed else "",
            earlier_prompts=[] if fixed else list(state.written),
        ).after(*after)
        found = uncached(judged).outputs
        with dsl.If(found[DECISION] != "stop", name=f"m{number}-not-stopped"):
            trained = self.train[number](
                **place.training_arguments(),
                model=state.model,
                seed_data=data.seed_data,
                candidates=found["candidates"],
                judgements=found["judgements"],
            )
            written = state.written if fixed else [*state.written, found["prompts"]]
            measured = (found["evaluation"], found["annotation"], found["judgements"])
            following = State(uncached(trained).output, found["evaluation"], written, *measured)
            self.run(place, data, following, number + 1)


def import_instructions(place: Place, recipe: Recipe) -> Any:
    """The instruction set's URI, "" where the recipe has none."""
    if recipe.instructions is None:
        return ""
    return place.worker(instructions(settings=recipe.instructions.to_dict(), **place.stage())).outputs["Output"]


def import_questions(place: Place, recipe: Recipe) -> Any:
    """The URI of the questions with reference answers, "" where the recipe has none."""
    exact = recipe.evaluation.exact_answers
    if exact is None:
        return ""
    return place.worker(questions(settings=exact.only_questions().to_dict(), **place.stage())).outputs["Output"]


def import_model(place: Place, name: str, settings: BaseModelSettings) -> Any:
    """A model from outside as a stage; returns its URI."""
    return place.importer(base_model(name=name, settings=settings.to_dict(), **place.stage())).outputs["Output"]


def _fine_tune(place: Place, recipe: Recipe, name: str, base: Any, seeds: Any, targets: Any = "") -> Any:
    task = sft(
        name=name, settings=recipe.sft.to_dict(), base=base, seed_data=seeds, eft=targets, **place.training(recipe)
    )
    return place.trainer(task, recipe)


def _measure_baseline(place: Place, recipe: Recipe, baseline: Any, data: MeasuredWith) -> tuple[Any, Any, Any]:
    """Serve the SFT baseline once: it is measured, and writes the EFT targets where the recipe has a model do that."""
    by_model = recipe.eft.source == "model"
    served = ServedModel(place, recipe, "sft", baseline, data)
    served.start({"eft": recipe.eft.to_dict(), "judging": recipe.judging.to_dict()} if by_model else {}, [])
    evaluated = served.measure()
    targets = place.worker(
        eft(
            settings=recipe.eft.to_dict(),
            judging=recipe.judging.to_dict(),
            seed_data=data.seed_data,
            model=baseline if by_model else "",
            endpoint=served.endpoint if by_model else "",
            **place.stage(),
        )
    ).outputs["Output"]
    served.stop(*([targets] if by_model else []))
    served.compare()
    return targets, evaluated, served.register().after(served.stopped)


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
    work = {"prompts": recipe.prompts.to_dict(), "rounds": recipe.rounds}
    server = place.serve(recipe, "writer", writer, work, [seeds]).after(
        after
    )  # one server at a time on a small machine
    written = _prompts_of_all_rounds(place, recipe, writer, seeds, server.outputs["endpoint"])
    return written, [place.unserve("writer", server, list(written))]


def _prompts_of_all_rounds(place: Place, recipe: Recipe, writer: Any, seeds: Any, endpoint: Any) -> list[Any]:
    written: list[Any] = []
    for number in range(1, recipe.rounds + 1):
        written.append(write_round_prompts(place, recipe, number, writer, seeds, list(written), endpoint))
    return written
