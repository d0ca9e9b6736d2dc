"""All that is measured of a model: by asking it while it is served, then by an annotator that reads its answers."""

from __future__ import annotations

from typing import Any

from components.core.context import RunContext, RunData, RunState, open_step
from components.core.records import Manifest
from components.evaluation.alpaca_eval.annotation import Annotator, make_annotations
from components.evaluation.alpaca_eval.settings import AnnotationSettings
from components.evaluation.evaluation import EvaluationInputs, evaluate
from components.evaluation.lm_eval.benchmarks import run_benchmarks
from components.evaluation.lm_eval.settings import BenchmarksSettings
from components.evaluation.mt_bench.answering import answer_questions
from components.evaluation.mt_bench.grading import grade
from components.evaluation.mt_bench.settings import MtBenchSettings
from components.evaluation.settings import EvaluationSettings
from components.serving.engines.served_model import ServedModel, annotator_of


def measure_model(name: str, before: dict[str, Any], model: str, opponent: str) -> dict[str, Any]:
    """Returns the URIs of the stages: "evaluation", "annotation" ("" for none), and "stages", all of them.

    `before` is the run's state (RunState), `opponent` the evaluation of the model to compare with, "" for none. Without
    a model it is M0 that is measured.
    """
    state = RunState.from_dict(before)
    model = model or state.data.base
    with open_step(state.run, f"measure {name.upper()}") as context:
        inputs, served = state.data, ServedModel(context, name, model)
        asked = ask(context, name, served, inputs)
        # on a cluster it would hold a GPU that the next model waits for
        kept = context.engine == "embedded" and context.section("annotation", AnnotationSettings).keep_served
        annotator = run_annotator(context, name, inputs, kept)
        if model == inputs.annotator and not annotator_of(context):
            annotator = served  # M0, where no other was given: it need not be started again
        else:
            served.stop()  # the annotator may need what it holds
        read = annotate(context, name, asked, inputs, opponent, annotator)
        asks_it = bool(read) and not annotator_of(context)
        if (annotator is served and not asks_it) or (asks_it and not kept):
            annotator.stop()
        return {
            "evaluation": asked["evaluation"],
            "annotation": read.get("annotation", ""),
            "stages": [*asked.values(), *read.values()],
        }


def run_annotator(context: RunContext, name: str, data: RunData, kept: bool) -> ServedModel:
    """The run's own annotator of the model `name`. One that is kept has one name for all of them: M0's where it is M0,
    which is served when it is measured."""
    of_all = "m0" if data.annotator == data.base else "annotator"
    return ServedModel(context, of_all if kept else f"{name}-annotator", data.annotator)


def ask(context: RunContext, name: str, served: ServedModel, data: RunData) -> dict[str, str]:
    """Stages whose answers the served model gives, by their kind."""
    root, model, stages = context.store, served.model, {}
    evaluation = context.section("evaluation", EvaluationSettings)
    inputs = EvaluationInputs(model, data.seed_data, data.instructions, data.questions)
    stages["evaluation"] = context.make(f"{name}/evaluation", lambda: evaluate(root, evaluation, inputs, served))
    if benchmarks := context.optional("benchmarks", BenchmarksSettings):
        stages["benchmarks"] = context.make(
            f"{name}/benchmarks", lambda: run_benchmarks(root, benchmarks, model, served)
        )
    if mt_bench := context.optional("mt_bench", MtBenchSettings):
        stages["mt_bench_answers"] = context.make(
            f"{name}/mt_bench_answers", lambda: answer_questions(root, mt_bench, model, served)
        )
    return stages


def annotate(
    context: RunContext, name: str, asked: dict[str, str], data: RunData, opponent: str, served: ServedModel
) -> dict[str, str]:
    """Stages in which the annotator compares and grades those answers, by their kind; `served` is the run's own."""
    settings, root, stages = context.section("annotation", AnnotationSettings), context.store, {}
    opponent = opponent if settings.head_to_head else ""
    other = annotator_of(context)
    annotator = Annotator(other) if other else Annotator(served, served.model)

    def compare() -> Manifest:
        return make_annotations(root, settings, name, asked["evaluation"], opponent, data.instructions, annotator)

    if data.instructions or opponent:
        stages["annotation"] = context.make(f"{name}/annotation", compare)
    if mt_bench := context.optional("mt_bench", MtBenchSettings):
        stages["mt_bench"] = context.make(
            f"{name}/mt_bench",
            lambda: grade(root, mt_bench, asked["mt_bench_answers"], annotator.parent(), annotator.endpoint),
        )
    return stages
