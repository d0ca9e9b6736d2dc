"""The phases of a run, each a pipeline of its own: data and models; M0; the SFT baseline; M1; each round's model.

A phase takes the run's state from the phase before it (`before`), as one structure, and the images, which KFP gives
only to tasks at the top of a pipeline where they are parameters. Every box says what is done to which model: one step
of the run, or several that follow each other with the same image and resources, as a pod takes 10 to 30 s to start. A
phase is all that concerns its model, so a round of the paper, Mt -> M(t+1), lies in two: prompts, candidates and
judgements of Mt in the phase of Mt, where it is served once; the pairs of them, and DPO, in the phase of M(t+1).
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from kfp import dsl

from components.base_model.component import import_models
from components.eft.component import eft
from components.evaluation.component import eft_measure, measure, sample_judge_measure
from components.gate.component import gate, register
from components.kubernetes.pods import OF_ANNOTATOR, OF_JUDGE, OF_POLICY
from components.pairs.component import pair
from components.prompts.component import write_all_prompts
from components.run.component import hand_over, prepare, resume
from components.training.launch.component import dpo, sft
from pipelines.graph.pods import import_step, placed_step, training_step, worker_step
from pipelines.recipe import Recipe, changes
from pipelines.watch.outline import AND

ROLES = ("base", "writer", "annotator")


class Baseline(NamedTuple):
    eft: str
    state: dict


# `Output` is the gate's decision, on which the next phase depends (package.py): kfp.local resolves conditions on
# outputs of this name alone.
class Gated(NamedTuple):
    Output: str
    state: dict


def prepare_phase(recipe: Recipe, roles: tuple[str, ...] = ROLES, goes_on_from: str = "") -> Any:
    """Open the run, import its data and models; returns the run's state.

    That of a run that was handed over is the one after the model `goes_on_from`.
    """

    @dsl.pipeline(name="prepare")
    def phase(
        store: str,
        run: str,
        job: str,
        tracking_uri: str,
        engine: str,
        endpoint: str,
        judge_endpoint: str,
        annotator_endpoint: str,
        judge_model: str,
        annotator_model: str,
        worker_image: str,
        trainer_image: str,
        engine_image: str,
    ) -> dict:
        opened = prepare(
            recipe=recipe.to_dict(),
            changed=changes(recipe),
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
        placed_step(opened, "open the run, import data", recipe, worker_image, OF_POLICY + OF_JUDGE + OF_ANNOTATOR)
        models = import_models(state=opened.outputs["Output"], roles=list(roles))
        import_step(models, "import models", recipe, trainer_image)
        if not goes_on_from:
            return models.output  # type: ignore[no-any-return]
        found = resume(state=models.output, name=goes_on_from)
        return worker_step(found, f"find {goes_on_from.upper()}", recipe, worker_image).output  # type: ignore[no-any-return]

    return phase


def base_model_phase(recipe: Recipe) -> Any:
    """M0 is measured as every other model is: what the run makes of it is held against it."""

    @dsl.pipeline(name="m0")
    def phase(before: dict, worker_image: str) -> dict:
        measured = measure(name="m0", before=before, model="", opponent={})
        worker_step(measured, "measure M0", recipe, worker_image, OF_POLICY + OF_ANNOTATOR)
        registered = register(name="m0", before=before, model="", measured=measured.output)
        return worker_step(registered, "register M0", recipe, worker_image).outputs["Output"]  # type: ignore[no-any-return]

    return phase


def baseline_phase(recipe: Recipe) -> Any:
    """Train the SFT baseline, which writes the EFT examples where the recipe has a model do that; measure it."""

    @dsl.pipeline(name="sft")
    def phase(before: dict, worker_image: str, trainer_image: str) -> Baseline:
        trained = sft(name="sft", before=before, eft="")
        model = training_step(trained, "train SFT", recipe, trainer_image).output
        title = AND.join(("write EFT examples", "measure SFT"))
        asked = worker_step(
            eft_measure(before=before, model=model), title, recipe, worker_image, OF_POLICY + OF_ANNOTATOR
        )
        registered = register(name="sft", before=before, model=model, measured=asked.outputs["measured"])
        worker_step(registered, "register SFT", recipe, worker_image)
        return Baseline(asked.outputs["eft"], registered.outputs["Output"])

    return phase


def first_model_phase(recipe: Recipe) -> Any:
    """M1: SFT on IFT (unless there is none) and EFT; the first model that answers, judges and is judged.

    Where no SFT baseline is trained M0 is the baseline, and writes the EFT examples where a model does: here. Where the
    policy does not write the prompts, those of all rounds are made here, too, by one writer that is served once.
    """

    @dsl.pipeline(name="m1")
    def phase(before: dict, eft_examples: str, worker_image: str, trainer_image: str) -> Gated:
        examples: Any = eft_examples
        if not recipe.trains_baseline:
            made = eft(before=before, model="")
            examples = worker_step(made, "write EFT examples", recipe, worker_image, OF_POLICY).output
        trained = sft(name="m1", before=before, eft=examples)
        model = training_step(trained, "train M1", recipe, trainer_image).output
        prompts: Any = []
        if recipe.prompts.source != "policy":
            written = write_all_prompts(before=before, rounds=recipe.rounds).after(trained)  # one server at a time
            prompts = worker_step(written, "write prompts", recipe, worker_image, OF_POLICY).output
        return _use(recipe, "m1", before, model, prompts, worker_image)

    return phase


def round_phase(recipe: Recipe, number: int) -> Any:
    """Round `number`, M<number> -> M<number + 1>: pairs of the one, DPO, and what is asked of the other.

    Pairs of M<number>, DPO; then M<number + 1> answers and judges the next round's prompts while it is served to be
    measured, and the gate looks at all of that. The last model is only measured.
    """
    name, before_name = f"m{number + 1}", f"M{number}"

    @dsl.pipeline(name=name)
    def phase(before: dict, worker_image: str, trainer_image: str) -> Gated:
        keys = OF_POLICY + OF_JUDGE if recipe.pairs.asks_models else ()
        pairs = worker_step(pair(before=before), f"pair {before_name}'s answers", recipe, worker_image, keys).output
        trained = dpo(name=name, before=before, pairs=pairs)
        model = training_step(trained, f"train {name.upper()}", recipe, trainer_image, OF_JUDGE).output
        if number < recipe.rounds:
            return _use(recipe, name, before, model, [], worker_image)
        measured = measure(name=name, before=before, model=model, opponent={})
        worker_step(measured, f"measure {name.upper()}", recipe, worker_image, OF_POLICY + OF_ANNOTATOR)
        made = {"candidates": "", "judgements": "", "prompts": [], "measured": measured.output}
        return _gated(recipe, name, before, model, made, worker_image)

    return phase


def hand_over_phase(recipe: Recipe, part: int) -> Any:
    """The run goes on in another Kubeflow run, with the rounds that are left."""

    @dsl.pipeline(name="hand-over")
    def phase(state: dict, worker_image: str) -> None:
        worker_step(hand_over(state=state, part=part), f"start part {part}", recipe, worker_image)

    return phase


def _use(recipe: Recipe, name: str, before: Any, model: Any, prompts: Any, image: Any) -> Gated:
    """The model answers its round's prompts and judges the answers; then it is measured and gated."""
    asked = sample_judge_measure(name=name, before=before, model=model, prompts=prompts)
    title = AND.join(f"{verb} {name.upper()}" for verb in ("sample", "judge", "measure"))
    worker_step(asked, title, recipe, image, OF_POLICY + OF_JUDGE + OF_ANNOTATOR)
    return _gated(recipe, name, before, model, asked.outputs, image)


def _gated(recipe: Recipe, name: str, before: Any, model: Any, made: Mapping[str, Any], image: Any) -> Gated:
    """`made` are candidates, judgements, prompts, and what measured the model."""
    decided = gate(name=name, before=before, model=model, **made)
    worker_step(decided, f"gate and register {name.upper()}", recipe, image)
    return Gated(decided.outputs["Output"], decided.outputs["state"])
