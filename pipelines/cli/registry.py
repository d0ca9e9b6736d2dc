"""`srlm models`, `promote`, `rollback` and `lineage`; what they do is in models.py, which loads more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.cli.options import Debug, Json, Store, TrackingUri, console

if TYPE_CHECKING:
    from pipelines.local.run import RunOptions

commands = typer.Typer()


@commands.command()
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


@commands.command()
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


@commands.command()
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


@commands.command()
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


def _run_options(tracking_uri: str, store: str = "") -> RunOptions:
    from pipelines.local.run import RunOptions

    return RunOptions(store, tracking_uri)
