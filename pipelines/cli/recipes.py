"""`srlm data` and `srlm compile`: what a recipe takes from a file, and its package for Kubeflow."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from components.core.errors import UserError
from pipelines.cli.options import (
    Debug,
    Json,
    Noise,
    Overrides,
    RecipeName,
    TrainerImage,
    WorkerImage,
    console,
    print_json,
)

if TYPE_CHECKING:
    from components.seed_data.seed_data import Description

commands = typer.Typer()


@commands.command()
def data(
    messages: Annotated[
        str, typer.Argument(help="Human messages: a path, s3://, hub id; default: the recipe's own.")
    ] = "",
    recipe: Annotated[str, typer.Option(help="The recipe whose sizes and language count.")] = "demo",
    overrides: Overrides = [],  # noqa: B006
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Show what a recipe would take from a file of human messages, with everything dropped by reason.

    Exit code 2 where a run would end for want of data.

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


@commands.command("compile")
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
