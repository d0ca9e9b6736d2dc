"""The command `srlm`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from components.errors import UserError

app = typer.Typer(
    help="Self-Rewarding Language Models as a pipeline: M0 to M1, M2, M3 without human labels.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
console = Console()

RecipeName = Annotated[str, typer.Argument(help="A shipped recipe (demo, llama3-8b, llama2-70b-paper) or a YAML file.")]
Overrides = Annotated[
    list[str], typer.Option("--set", metavar="A.B=VALUE", help="Override a setting; may be repeated.")
]
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks.")]


@app.command()
def run(
    recipe: RecipeName,
    overrides: Overrides = [],  # noqa: B006  typer wants a list and does not change it
    store: Annotated[str, typer.Option(help="s3://bucket/prefix or a folder; default: a local S3 server.")] = "",
    tracking_uri: Annotated[str, typer.Option(help="An MLflow server; default: a local one.")] = "",
    engine: Annotated[str, typer.Option(help="embedded or endpoint.")] = "embedded",
    endpoint: Annotated[str, typer.Option(help="URL for --engine endpoint; {model} stands for sft, m1, ...")] = "",
    judge_endpoint: Annotated[str, typer.Option(help="URL of another judge than the policy.")] = "",
    annotator_endpoint: Annotated[str, typer.Option(help="URL of the annotator; default: M0 on this machine.")] = "",
    debug: Debug = False,
) -> None:
    """Run the whole loop of a recipe on this machine. Run again to continue or to reuse."""
    from pipelines.local import Where, run_recipe
    from pipelines.recipe import load_recipe

    where = Where(store, tracking_uri, engine, endpoint, judge_endpoint, annotator_endpoint)
    try:
        run_recipe(load_recipe(recipe, overrides), where, console, debug)
    except KeyboardInterrupt:
        console.print("stopped; run again to continue: finished work is kept")
        raise typer.Exit(130) from None


@app.command("compile")
def compile_(
    recipe: RecipeName,
    output: Annotated[Path, typer.Option("--output", "-o", help="Where to write the pipeline.")] = Path(
        "pipeline.yaml"
    ),
    overrides: Overrides = [],  # noqa: B006
    debug: Debug = False,
) -> None:
    """Compile a recipe to a Kubeflow Pipelines package."""
    from pipelines.compile import compile_recipe
    from pipelines.recipe import load_recipe

    compile_recipe(load_recipe(recipe, overrides), output)
    console.print(f"wrote {output}")


@app.command()
def data(
    messages: Annotated[str, typer.Argument(help="OpenAssistant messages: a path, s3://, hub id or builtin:demo.")],
    recipe: Annotated[str, typer.Option(help="The recipe whose sizes and language count.")] = "demo",
    debug: Debug = False,
) -> None:
    """Show what a recipe would take from a file of human messages, with everything dropped by reason."""
    from components.seed_data.seed_data import describe
    from pipelines.recipe import load_recipe

    counts = describe(messages, load_recipe(recipe).data)
    shown = Table(title=messages, title_justify="left")
    shown.add_column("what")
    shown.add_column("count", justify="right")
    for name, count in counts.kept.items():
        shown.add_row(f"kept: {name}", f"{count:,}")
    for reason, count in counts.dropped.items():
        shown.add_row(f"dropped: {reason}", f"{count:,}")
    console.print(shown)


@app.command()
def up(debug: Debug = False) -> None:
    """Start the local store and registry and keep them running, for looking around."""
    from pipelines.services import BUCKET, services

    with services(keep=True) as local:
        console.print(f"model registry (MLflow): {local.tracking_uri}")
        console.print(f"store (S3): {local.store_url}, bucket {BUCKET}; its key is in .srlm/services/credentials.json")
        console.print("srlm down stops them")


@app.command()
def down(debug: Debug = False) -> None:
    """Stop the local store and registry. Their data stay in .srlm/."""
    from pipelines.services import stop_services

    console.print("stopped" if stop_services() else "nothing was running")


def main() -> None:
    """Entry point: a UserError is one message and exit code 2; --debug shows its traceback."""
    os.environ.setdefault("SRLM_HOME", str(Path(".srlm").absolute()))
    try:
        app()
    except UserError as error:
        if "--debug" in sys.argv:
            raise
        Console(stderr=True).print(f"[bold red]error:[/bold red] {escape(str(error))}", highlight=False, soft_wrap=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
