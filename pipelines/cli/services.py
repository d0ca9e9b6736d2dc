"""`srlm up`, `env` and `down`: the store and the registry of this machine."""

from __future__ import annotations

import shlex
from typing import Annotated

import typer

from pipelines.cli.options import Debug, console

commands = typer.Typer()


@commands.command()
def up(debug: Debug = False) -> None:
    """Start the local store and registry and keep them running, for looking around.

    Example: srlm up
    """
    from pipelines.local.services import BUCKET, services

    with services(keep=True) as local:
        console.print(f"models and runs (MLflow): {local.tracking_uri}/#/models", soft_wrap=True)
        console.print(f"store (S3): {local.store_url}, bucket {BUCKET}; its key is in .srlm/services/credentials.json")
        console.print("eval \"$(srlm env)\" lets MLflow's and S3's own clients use them; srlm down stops them")


@commands.command()
def env(debug: Debug = False) -> None:
    """Print variables for MLflow's and S3's own clients, the local store's key among them: eval "$(srlm env)".

    Example: srlm env
    """
    from pipelines.local.services import running_services

    for name, value in running_services().environment_of_clients().items():
        print(f"export {name}={shlex.quote(value)}")  # no console: it would wrap the lines


@commands.command()
def down(
    force: Annotated[bool, typer.Option("--force", help="Though runs use them, which then fail.")] = False,
    debug: Debug = False,
) -> None:
    """Stop the local store and registry. Their data stay in .srlm/.

    Example: srlm down
    """
    from pipelines.local.services import stop_services

    console.print("stopped" if stop_services(force) else "nothing was running")
