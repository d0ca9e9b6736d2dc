"""The whole loop: seed data -> SFT baseline and M1 -> rounds -> the last model (Yuan et al. 2024, section 2)."""

from typing import Any

from kfp import dsl

from components.core.images import TRAINER, WORKER
from components.run.component import finish
from pipelines.graph.phases import (
    base_model_phase,
    baseline_phase,
    first_model_phase,
    hand_over_phase,
    prepare_phase,
    round_phase,
)
from pipelines.graph.pods import phase_box, placed_step
from pipelines.recipe import Recipe

# Rounds of one Kubeflow run: with three, three tenths of what Argo and etcd allow stay free to its end (size.py), and
# its phases are eight boxes. What is left goes on in the next run, under the same name.
ROUNDS = 3


def parts(recipe: Recipe) -> int:
    """How many Kubeflow runs the recipe's rounds take, one after the other."""
    return -(-recipe.rounds // ROUNDS)


def self_rewarding_pipeline(recipe: Recipe, part: int = 1) -> Any:
    """The KFP pipeline of a recipe. What to do is compiled in; where it happens are its parameters."""
    first = ROUNDS * (part - 1) + 1
    prepare = prepare_phase(recipe, goes_on_from="" if part == 1 else f"m{first}")
    m0, m1 = base_model_phase(recipe), first_model_phase(recipe)
    baseline = baseline_phase(recipe) if recipe.trains_baseline else None
    rounds = {number: round_phase(recipe, number) for number in range(first, recipe.rounds + 1)[:ROUNDS]}
    following = hand_over_phase(recipe, part + 1) if part < parts(recipe) else None

    @dsl.pipeline(name=recipe.name, description=recipe.description)
    def pipeline(
        store: str = "",
        tracking_uri: str = "",
        run: str = "",
        engine: str = "embedded",
        endpoint: str = "",
        judge_endpoint: str = "",
        annotator_endpoint: str = "",
        judge_model: str = "",
        annotator_model: str = "",
        worker_image: str = WORKER,
        trainer_image: str = TRAINER,
        engine_image: str = "",
    ) -> None:
        """All of them may stay as they are where the chart is installed; but a Kubeflow run needs an engine.

        Args:
            engine: tgi, vllm or transformers serve each model on the cluster; endpoint: it is served already
            run: name of the run, by which its records and servers are found; empty: Kubeflow's id
            store: s3://bucket/prefix for all that is made; empty: the chart's
            tracking_uri: the MLflow server; empty: the chart's
            endpoint: with engine endpoint: its address, in which {model} stands for a model's name
            judge_endpoint: address of another judge than the policy
            judge_model: its name there; empty: the only one there
            annotator_endpoint: address of what compares models, a GPT-4-class one for AlpacaEval
            annotator_model: its name there; empty: the only one there
            worker_image: of steps that ask servers
            trainer_image: of steps that import and train
            engine_image: of the models' servers; empty: the chart's
        """
        job = dsl.PIPELINE_JOB_ID_PLACEHOLDER
        report = placed_step(finish(store=store, run=run, job=job), "report", recipe, worker_image)
        with dsl.ExitHandler(report, name=recipe.name):
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
            state = phase_box(opened, "prepare").output
            images = {"worker_image": worker_image, "trainer_image": trainer_image}
            if part == 1:
                state = phase_box(m0(before=state, worker_image=worker_image), "M0").output
                examples: Any = ""
                if baseline:
                    made = phase_box(baseline(before=state, **images), "SFT baseline").outputs
                    examples, state = made["eft"], made["state"]
                state = phase_box(m1(before=state, eft_examples=examples, **images), "M1").outputs["state"]
            # a phase runs unless the gate before it said stop: wait_for_gates in package.py puts that into the package
            for number, phase in rounds.items():
                title = f"M{number + 1} (round {number})"
                state = phase_box(phase(before=state, **images), title).outputs["state"]
            if following:
                phase_box(following(state=state, worker_image=worker_image), f"goes on in part {part + 1}")

    return pipeline
