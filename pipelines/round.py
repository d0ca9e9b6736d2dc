"""One round, Mt -> M(t+1): a nested pipeline, strings in, strings out."""

from typing import Any, NamedTuple

from kfp import dsl

from components.dpo.component import dpo
from components.judging.component import judging
from components.pairs.component import pairs
from components.prompts.component import prompts
from components.sampling.component import sampling
from pipelines.recipe import Recipe
from pipelines.steps import Place, ServedModel


def round_pipeline(recipe: Recipe, number: int) -> Any:
    """The pipeline of round `number` (from 1), which serves M<number> and trains M<number + 1>.

    `new_prompts` is the round's prompts stage where that is there already; with `source: policy` it is empty and
    Mt writes the prompts while it is served, after the demonstrations in `earlier_prompts`.
    """
    model_name = f"m{number}"
    by_policy = recipe.prompts.source == "policy"
    # KFP refuses an output that is an input handed through: prompts that came from outside do not go out again.
    fields = [("model", str), ("evaluation", str), ("version", str), *([("prompts", str)] if by_policy else [])]
    Outputs = NamedTuple("Outputs", fields)  # type: ignore[misc]

    @dsl.pipeline(name=f"round-{number}")
    def one_round(
        store: str,
        run: str,
        tracking_uri: str,
        engine: str,
        endpoint: str,
        judge_endpoint: str,
        worker_image: str,
        trainer_image: str,
        model: str,
        seed_data: str,
        opponent: str,
        new_prompts: str,
        earlier_prompts: list,
    ) -> Outputs:
        place = Place(store, run, tracking_uri, engine, endpoint, judge_endpoint, worker_image, trainer_image)
        served = ServedModel(place, recipe, model_name, model, seed_data, opponent)
        served.start(_work(recipe), [] if by_policy else [new_prompts])
        evaluated = served.measure()
        asked: Any = new_prompts
        if by_policy:
            asked = write_round_prompts(place, recipe, number, model, seed_data, earlier_prompts, served.endpoint)
        sampled = place.worker(
            sampling(
                name=model_name,
                settings=recipe.sampling.plain(),
                model=model,
                prompts=asked,
                endpoint=served.endpoint,
                **place.stage(),
            )
        ).outputs["Output"]
        judged = place.worker(
            judging(
                name=model_name,
                settings=recipe.judging.plain(),
                model=model,
                candidates=sampled,
                endpoint=served.endpoint,
                judge_endpoint=judge_endpoint,
                **place.stage(),
            )
        ).outputs["Output"]
        stopped = served.stop(evaluated, asked, sampled, judged)
        version = served.register().outputs["Output"]
        paired = place.worker(
            pairs(
                name=model_name,
                settings=recipe.pairs.of_round(number).plain(),
                candidates=sampled,
                judgements=judged,
                **place.stage(),
            )
        ).outputs["Output"]
        trained = place.trainer(
            dpo(
                name=f"m{number + 1}",
                settings=recipe.dpo.plain(),
                model=model,
                pairs=paired,
                seed_data=seed_data,
                judge_endpoint=judge_endpoint,
                **place.stage(),
            ),
            recipe,
        ).after(stopped)  # the server's memory is free before training takes it
        outputs = [trained.outputs["Output"], evaluated, version, *([asked] if by_policy else [])]
        return Outputs(*outputs)

    return one_round


def write_round_prompts(
    place: Place, recipe: Recipe, number: int, writer: Any, seed_data: Any, earlier: Any, endpoint: Any
) -> Any:
    """The prompts of one round; returns their stage's URI."""
    return place.worker(
        prompts(
            name=f"m{number}",
            settings=recipe.prompts.plain(),
            writer=writer,
            seed_data=seed_data,
            earlier=earlier,
            endpoint=endpoint,
            **place.stage(),
        )
    ).outputs["Output"]


def _work(recipe: Recipe) -> dict[str, Any]:
    return {"prompts": recipe.prompts.plain(), "sampling": recipe.sampling.plain(), "judging": recipe.judging.plain()}
