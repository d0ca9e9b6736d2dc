"""`srlm run` and `srlm eval`: what works for a while on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, NoReturn

import typer

from pipelines.cli.options import (
    AnnotatorEndpoint,
    AnnotatorModel,
    Debug,
    Endpoint,
    EngineImage,
    JudgeEndpoint,
    JudgeModel,
    NewRun,
    Noise,
    Overrides,
    RecipeName,
    Store,
    TrackingUri,
    TrainerImage,
    WorkerImage,
    console,
    going_on,
)

commands = typer.Typer()

EngineName = Annotated[str, typer.Option(help="embedded, command, endpoint; in a pod also transformers, tgi or vllm.")]


@commands.command()
def run(
    recipe: RecipeName,
    overrides: Overrides = [],  # noqa: B006  typer wants a list and does not change it
    store: Store = "",
    tracking_uri: TrackingUri = "",
    engine: EngineName = "embedded",
    endpoint: Endpoint = "",
    judge_endpoint: JudgeEndpoint = "",
    annotator_endpoint: AnnotatorEndpoint = "",
    judge_model: JudgeModel = "",
    annotator_model: AnnotatorModel = "",
    worker_image: WorkerImage = "",
    trainer_image: TrainerImage = "",
    engine_image: EngineImage = "",
    name: NewRun = "",
    debug: Debug = False,
) -> None:
    """Run the whole loop of a recipe on this machine. Run again to continue or to reuse.

    Example: srlm run demo --set sampling.candidates=8
    """
    from pipelines.local.run import RunOptions, new_run, run_recipe
    from pipelines.local.runs import held
    from pipelines.recipe import load_recipe

    images = {"worker_image": worker_image, "trainer_image": trainer_image, "engine_image": engine_image}
    names = {"judge_model": judge_model, "annotator_model": annotator_model}
    options = RunOptions(store, tracking_uri, engine, endpoint, judge_endpoint, annotator_endpoint, **images, **names)
    loaded = load_recipe(recipe, overrides)
    name = name or new_run(loaded.name)
    try:
        with held(name):
            run_recipe(loaded, options, console, debug, name)
    except KeyboardInterrupt:
        _say_how_to_go_on(name)


@commands.command("eval")
def evaluate(
    model: Annotated[str, typer.Option(help="models:/NAME@ALIAS, models:/NAME/VERSION, or a stage's URI.")],
    against: Annotated[
        str,
        typer.Option(help="The same, or @ALIAS of the same name; default: @champion, with --noise the model before."),
    ] = "",
    noise: Noise = None,
    recipe: Annotated[str, typer.Option(help="What to measure with; default: the recipe that made the model.")] = "",
    overrides: Overrides = [],  # noqa: B006
    output: Annotated[Path, typer.Option(help="Folder for report.md, report.json and junit.xml.")] = Path("eval"),
    store: Store = "",
    tracking_uri: TrackingUri = "",
    engine: EngineName = "embedded",
    endpoint: Annotated[
        str, typer.Option(help="URL for --engine endpoint; {model} stands for model, against, seed-1, ...")
    ] = "",
    annotator_endpoint: AnnotatorEndpoint = "",
    annotator_model: AnnotatorModel = "",
    worker_image: WorkerImage = "",
    name: NewRun = "",
    debug: Debug = False,
) -> None:
    """Compare two models.

    Exit code 0: no regression, 1: a regression, 2: something is broken.

    Example: srlm eval --model models:/demo@candidate --against @champion --output reports
    """
    from pipelines.cli.evaluate import EvaluationRequest, evaluate_models
    from pipelines.local.run import RunOptions

    annotator = {"annotator_endpoint": annotator_endpoint, "annotator_model": annotator_model}
    options = RunOptions(store, tracking_uri, engine, endpoint, worker_image=worker_image, **annotator)
    request = EvaluationRequest(model, against, recipe, overrides, noise or 0, name)
    try:
        comparison = evaluate_models(request, options, output, console, debug)
    except KeyboardInterrupt:
        _say_how_to_go_on(name)
    raise typer.Exit(1 if comparison.regressed else 0)


def _say_how_to_go_on(run: str) -> NoReturn:
    """After Ctrl-C, which ends the run's processes."""
    text = f"stopped; finished work is kept, and this goes on: {going_on(run)}"
    console.print(text, markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(130)
