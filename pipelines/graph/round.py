"""One round, Mt -> M(t+1), as two nested pipelines, strings in, strings out: Mt is judged, then it is trained on that.

Between them stands the gate's decision. They are pipelines of their own because images that are given as parameters
only reach tasks at the top of a pipeline, not those inside a condition.
"""

from typing import Any, NamedTuple

from kfp import dsl

from components.judging.component import judging
from components.pairs.component import pairs
from components.prompts.component import prompts
from components.sampling.component import sampling
from components.training.dpo.component import dpo
from pipelines.graph.served_model import MeasuredWith, Place, ServedModel
from pipelines.recipe import Recipe

DECISION = "Output"  # of the judging pipeline: kfp.local resolves conditions on outputs of this name alone


def judging_pipeline(recipe: Recipe, number: int) -> Any:
    """Serve M<number> once: measure it, let it answer the round's prompts and judge its answers; then the gate.

    `new_prompts` is the round's prompts stage where that is there already; with `source: policy` it is empty and
    Mt writes the prompts while it is served, after the demonstrations in `earlier_prompts`.
    """
    name = f"m{number}"
    by_policy = recipe.prompts.source == "policy"
    outputs = [DECISION, "evaluation", "annotation", "candidates", "judgements", *(["prompts"] if by_policy else [])]
    # KFP refuses an output that is an input handed through: prompts that came from outside do not go out again.
    Outputs = NamedTuple("Outputs", [(output, str) for output in outputs])  # type: ignore[misc]

    @dsl.pipeline(name=f"judge-{name}")
    def judge(
        store: str,
        run: str,
        tracking_uri: str,
        engine: str,
        endpoint: str,
        judge_endpoint: str,
        annotator_endpoint: str,
        worker_image: str,
        trainer_image: str,
        engine_image: str,
        model: str,
        seed_data: str,
        instructions: str,
        questions: str,
        annotator: str,
        opponent: str,
        previous_evaluation: str,
        previous_annotation: str,
        previous_judgements: str,
        new_prompts: str,
        earlier_prompts: list,
    ) -> Outputs:
        images = (worker_image, trainer_image, engine_image)
        endpoints = (endpoint, judge_endpoint, annotator_endpoint)
        place = Place(recipe.cluster, store, run, tracking_uri, engine, *endpoints, *images)
        data = _measured_with(recipe, seed_data, instructions, questions, annotator)
        served = ServedModel(place, recipe, name, model, data, opponent)
        served.start(_work(recipe), [] if by_policy else [new_prompts])
        evaluated = served.measure()
        asked: Any = new_prompts
        if by_policy:
            asked = write_round_prompts(place, recipe, number, model, seed_data, earlier_prompts, served.endpoint)
        sampled, judged = _sample_and_judge(served, asked)
        served.stop(asked, sampled, judged)
        served.compare()
        decided = served.decide([previous_evaluation, previous_annotation, previous_judgements], [judged])
        found = [decided.outputs["decision"], evaluated, served.annotated or evaluated, sampled, judged]
        return Outputs(*found, *([asked] if by_policy else []))

    return judge


def training_pipeline(recipe: Recipe, number: int) -> Any:
    """Pairs from the judgements of round `number`, and DPO on them: M<number> -> M<number + 1>."""

    @dsl.pipeline(name=f"train-m{number + 1}")
    def train(
        store: str,
        run: str,
        judge_endpoint: str,
        worker_image: str,
        trainer_image: str,
        model: str,
        seed_data: str,
        candidates: str,
        judgements: str,
    ) -> str:
        place = Place(recipe.cluster, store, run, "", "", "", judge_endpoint, "", worker_image, trainer_image, "")
        paired = place.worker(
            pairs(
                name=f"m{number}",
                settings=recipe.pairs.of_round(number).to_dict(),
                candidates=candidates,
                judgements=judgements,
                **place.stage(),
            )
        ).outputs["Output"]
        task = dpo(
            name=f"m{number + 1}",
            settings=recipe.dpo.to_dict(),
            model=model,
            pairs=paired,
            seed_data=seed_data,
            judge_endpoint=judge_endpoint,
            **place.training(recipe),
        )
        return place.trainer(task, recipe).outputs["Output"]  # type: ignore[no-any-return]

    return train


def last_pipeline(recipe: Recipe) -> Any:
    """The last model is served for its measurements alone."""
    name = f"m{recipe.rounds + 1}"

    @dsl.pipeline(name=f"measure-{name}")
    def measure(
        store: str,
        run: str,
        tracking_uri: str,
        engine: str,
        endpoint: str,
        judge_endpoint: str,
        annotator_endpoint: str,
        worker_image: str,
        trainer_image: str,
        engine_image: str,
        model: str,
        seed_data: str,
        instructions: str,
        questions: str,
        annotator: str,
        opponent: str,
        previous_evaluation: str,
        previous_annotation: str,
        previous_judgements: str,
    ) -> None:
        images = (worker_image, trainer_image, engine_image)
        endpoints = (endpoint, judge_endpoint, annotator_endpoint)
        place = Place(recipe.cluster, store, run, tracking_uri, engine, *endpoints, *images)
        data = _measured_with(recipe, seed_data, instructions, questions, annotator)
        served = ServedModel(place, recipe, name, model, data, opponent)
        served.start({}, [])
        served.measure()
        served.stop()
        served.compare()
        served.decide([previous_evaluation, previous_annotation, previous_judgements])

    return measure


def _measured_with(recipe: Recipe, seed_data: Any, instructions: Any, questions: Any, annotator: Any) -> MeasuredWith:
    """What a nested pipeline was given; "" takes the place of parameters that are empty when it runs."""
    exact = recipe.evaluation.exact_answers
    return MeasuredWith(seed_data, instructions if recipe.instructions else "", questions if exact else "", annotator)


def _sample_and_judge(served: ServedModel, asked: Any) -> tuple[Any, Any]:
    place, recipe = served.place, served.recipe
    sampled = place.worker(
        sampling(
            name=served.name,
            settings=recipe.sampling.to_dict(),
            model=served.model,
            prompts=asked,
            endpoint=served.endpoint,
            **place.stage(),
        )
    ).outputs["Output"]
    judged = place.worker(
        judging(
            name=served.name,
            settings=recipe.judging.to_dict(),
            model=served.model,
            candidates=sampled,
            endpoint=served.endpoint,
            judge_endpoint=place.judge_endpoint,
            **place.stage(),
        )
    ).outputs["Output"]
    return sampled, judged


def write_round_prompts(
    place: Place, recipe: Recipe, number: int, writer: Any, seed_data: Any, earlier: Any, endpoint: Any
) -> Any:
    """The prompts of one round; returns their stage's URI."""
    return place.worker(
        prompts(
            name=f"m{number}",
            settings=recipe.prompts.to_dict(),
            writer=writer,
            seed_data=seed_data,
            earlier=earlier,
            endpoint=endpoint,
            **place.stage(),
        )
    ).outputs["Output"]


def _work(recipe: Recipe) -> dict[str, Any]:
    return {
        "prompts": recipe.prompts.to_dict(),
        "sampling": recipe.sampling.to_dict(),
        "judging": recipe.judging.to_dict(),
    }
