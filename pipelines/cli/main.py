"""The command `srlm`."""

from __future__ import annotations

import os
import shlex
import signal
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from components.core.errors import UserError
from components.core.hashing import code_version
from components.core.progress import visible
from pipelines.cli import check, compare, deploy, garbage, init, plan, report, review, runs, submit, use, watch
from pipelines.cli.options import (
    AnnotatorEndpoint,
    AnnotatorModel,
    Debug,
    Endpoint,
    EngineImage,
    Json,
    JudgeEndpoint,
    JudgeModel,
    NewRun,
    Overrides,
    RecipeName,
    Store,
    TrackingUri,
    TrainerImage,
    WorkerImage,
    console,
    going_on,
    print_json,
)

if TYPE_CHECKING:
    from components.seed_data.seed_data import Description
    from pipelines.local.run import RunOptions

EXIT_CODES = (
    "Exit codes: 0 done; 1 a check is negative (eval: a regression; watch: the run did not finish; doctor: something "
    "is broken); 2 a mistake or a failure, told with its remedy; 130 after Ctrl-C; 143 after SIGTERM. docs/commands.md"
)

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    epilog=EXIT_CODES,
    context_settings={"help_option_names": ["-h", "--help"]},
)

EngineName = Annotated[str, typer.Option(help="embedded, command, endpoint; in a pod also transformers, tgi or vllm.")]
Noise = Annotated[
    int | None,
    typer.Option(min=1, help="Train the model so many times more with other seeds, and show how its figures differ."),
]


def _run_options(tracking_uri: str, store: str = "") -> RunOptions:
    from pipelines.local.run import RunOptions

    return RunOptions(store, tracking_uri)


def _say_how_to_go_on(run: str) -> NoReturn:
    """After Ctrl-C, which ends the run's processes."""
    text = f"stopped; finished work is kept, and this goes on: {going_on(run)}"
    console.print(text, markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(130)


def _print_version(asked: bool) -> None:
    if asked:
        print(f"srlm {code_version()}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version, and end.")
    ] = False,
) -> None:
    """Self-Rewarding Language Models as a pipeline: M0 to M1, M2, M3 without human labels."""


@app.command()
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


@app.command("compile")
def compile_(
    recipe: RecipeName,
    output: Annotated[Path, typer.Option("--output", "-o", help="Where to write the pipeline.")] = Path(
        "pipeline.yaml"
    ),
    evaluation: Annotated[bool, typer.Option(help="Compile the comparison of two models, not the loop.")] = False,
    noise: Noise = None,
    kubernetes: Annotated[
        bool, typer.Option(help="Write resources for kubectl apply --server-side, not a package.")
    ] = False,
    namespace: Annotated[str, typer.Option(help="Where these resources go; default: kubectl's own.")] = "",
    worker_image: WorkerImage = "",
    trainer_image: TrainerImage = "",
    overrides: Overrides = [],  # noqa: B006
    debug: Debug = False,
) -> None:
    """Compile a recipe to a Kubeflow Pipelines package.

    Example: srlm compile llama3-8b -o pipeline.yaml
    """
    from pipelines.compile import compile_manifests, compile_pipeline, load_recipe_for_elsewhere
    from pipelines.graph.evaluation import evaluation_pipeline
    from pipelines.graph.self_rewarding import parts, self_rewarding_pipeline

    if noise and not evaluation:
        raise UserError("--noise trains a model again that is evaluated", "Give it with --evaluation.")
    loaded = load_recipe_for_elsewhere(recipe, overrides)
    pipeline = evaluation_pipeline(loaded, noise or 0) if evaluation else self_rewarding_pipeline(loaded)
    images = {"worker_image": worker_image, "trainer_image": trainer_image}
    if kubernetes:
        version = compile_manifests(pipeline, output, namespace, images)
    else:
        version = compile_pipeline(pipeline, output, images)
    console.print(f"wrote {output}: {version}", highlight=False, soft_wrap=True)
    if not evaluation and (number := parts(loaded)) > 1:
        note = f"part 1 of {number}: its last step starts the next one, with the rounds that are left"
        console.print(note, highlight=False, soft_wrap=True)


@app.command()
def data(
    messages: Annotated[
        str, typer.Argument(help="Human messages: a path, s3://, hub id; default: the recipe's own.")
    ] = "",
    recipe: Annotated[str, typer.Option(help="The recipe whose sizes and language count.")] = "demo",
    overrides: Overrides = [],  # noqa: B006
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Show what a recipe would take from a file of human messages, with everything dropped by reason. Exit code 2
    where a run would end for want of data.

    Example: srlm data messages.jsonl.gz --recipe llama3-8b
    """
    from components.seed_data.seed_data import describe
    from pipelines.recipe import load_recipe

    settings = load_recipe(recipe, overrides).data
    settings = settings.model_copy(update={"messages": messages or settings.messages})
    found = describe(settings)
    if as_json:
        counts = {"kept": found.counts.kept, "dropped": found.counts.dropped}
        print_json({"messages": settings.messages, **counts, "requested": found.requested})
    else:
        _show_data(settings.messages, found)
    if found.problem:
        raise found.problem


def _show_data(messages: str, found: Description) -> None:
    table = Table(title=messages, title_justify="left")
    table.add_column("what")
    table.add_column("count", justify="right")
    for name, count in found.counts.kept.items():
        wanted = found.requested.get(name)
        table.add_row(f"kept: {name}", f"{count:,} of {wanted:,}" if wanted else f"{count:,}")
    for reason, count in found.counts.dropped.items():
        table.add_row(f"dropped: {reason}", f"{count:,}")
    console.print(table)


@app.command()
def models(
    name: Annotated[str, typer.Argument(help="One registered model; default: all.")] = "",
    tracking_uri: TrackingUri = "",
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Show the registered models: versions, aliases, verdicts, figures.

    Example: srlm models demo
    """
    from pipelines.cli.models import show_models

    show_models(_run_options(tracking_uri), name, console, as_json)


@app.command()
def promote(
    model: Annotated[str, typer.Argument(help="models:/NAME@ALIAS or models:/NAME/VERSION.")],
    store: Store = "",
    tracking_uri: TrackingUri = "",
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Make a version champion; the champion so far becomes previous.

    Example: srlm promote models:/demo@candidate
    """
    from pipelines.cli.models import promote_model

    promote_model(_run_options(tracking_uri, store), model, console, as_json)


@app.command()
def rollback(
    name: Annotated[str, typer.Argument(help="The registered model.")],
    store: Store = "",
    tracking_uri: TrackingUri = "",
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Make the previous champion champion again.

    Example: srlm rollback demo
    """
    from pipelines.cli.models import roll_back_champion

    roll_back_champion(_run_options(tracking_uri, store), name, console, as_json)


@app.command()
def lineage(
    model: Annotated[str, typer.Argument(help="models:/NAME@ALIAS, models:/NAME/VERSION, or a stage's URI.")],
    store: Store = "",
    tracking_uri: TrackingUri = "",
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Show what a model was made from, down to the seed data.

    Example: srlm lineage models:/demo@m3
    """
    from pipelines.cli.models import show_lineage

    show_lineage(_run_options(tracking_uri, store), model, console, as_json)


@app.command("eval")
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
    """Compare two models. Exit code 0: no regression, 1: a regression, 2: something is broken.

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


@app.command()
def up(debug: Debug = False) -> None:
    """Start the local store and registry and keep them running, for looking around.

    Example: srlm up
    """
    from pipelines.local.services import BUCKET, services

    with services(keep=True) as local:
        console.print(f"models and runs (MLflow): {local.tracking_uri}/#/models", soft_wrap=True)
        console.print(f"store (S3): {local.store_url}, bucket {BUCKET}; its key is in .srlm/services/credentials.json")
        console.print("eval \"$(srlm env)\" lets MLflow's and S3's own clients use them; srlm down stops them")


@app.command()
def env(debug: Debug = False) -> None:
    """Print variables for MLflow's and S3's own clients, the local store's key among them: eval "$(srlm env)".

    Example: srlm env
    """
    from pipelines.local.services import running_services

    for name, value in running_services().environment_of_clients().items():
        print(f"export {name}={shlex.quote(value)}")  # no console: it would wrap the lines


@app.command()
def down(
    force: Annotated[bool, typer.Option("--force", help="Though runs use them, which then fail.")] = False,
    debug: Debug = False,
) -> None:
    """Stop the local store and registry. Their data stay in .srlm/.

    Example: srlm down
    """
    from pipelines.local.services import stop_services

    console.print("stopped" if stop_services(force) else "nothing was running")


app.add_typer(init.commands)
app.add_typer(check.commands)
app.add_typer(plan.commands)
app.add_typer(submit.commands)
app.add_typer(use.commands)
app.add_typer(deploy.commands)
app.add_typer(report.commands)
app.add_typer(compare.commands)
app.add_typer(review.commands)
app.add_typer(runs.commands)
app.add_typer(watch.commands)
app.add_typer(garbage.commands)


def main() -> None:
    """Entry point: a UserError is one message and exit code 2; --debug shows its traceback."""
    os.environ.setdefault("SRLM_HOME", str(Path(".srlm").absolute()))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the first process of a container would pass over it
    try:
        app()
    except UserError as error:
        if "--debug" in sys.argv:
            traceback.print_exc()
        said = escape(visible(str(error)))
        Console(stderr=True, emoji=False).print(f"[bold red]error:[/bold red] {said}", highlight=False, soft_wrap=True)
        sys.exit(2)
    except Exception:
        traceback.print_exc()  # a defect; 1 means a regression to whoever reads exit codes
        sys.exit(2)


if __name__ == "__main__":
    main()
