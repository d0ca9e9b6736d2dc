"""The command `srlm`."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from typer.core import TyperGroup

from components.core.errors import UserError
from components.core.hashing import code_version
from components.core.progress import visible
from pipelines.cli import (
    check,
    compare,
    deploy,
    garbage,
    init,
    plan,
    recipes,
    registry,
    report,
    review,
    run,
    runs,
    services,
    submit,
    use,
    watch,
)

EXIT_CODES = (
    "Exit codes: 0 done; 1 a check is negative (eval: a regression; watch: the run did not finish; doctor: something "
    "is broken); 2 a mistake or a failure, told with its remedy; 130 after Ctrl-C; 143 after SIGTERM. docs/commands.md"
)

# What --help shows, in this order; docs/commands.md has the same.
GROUPS = {
    "Prepare": ("init", "data", "check", "plan"),
    "Run": ("run", "status", "watch", "logs", "cancel"),
    "Read": ("show", "report", "compare", "review"),
    "Models": ("models", "lineage", "eval", "promote", "rollback", "chat", "export"),
    "Cluster": ("compile", "submit", "manifests", "deploy", "undeploy", "doctor", "clean"),
    "Store and services": ("up", "env", "down", "gc"),
}


class Groups(TyperGroup):
    """The commands in their GROUPS; what is in none comes last."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        for title, names in GROUPS.items():
            for name in names:
                command: Any = self.commands.pop(name)
                command.rich_help_panel = title
                self.commands[name] = command


app = typer.Typer(
    cls=Groups,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    epilog=EXIT_CODES,
    context_settings={"help_option_names": ["-h", "--help"]},
)


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


for subject in (
    *(init, recipes, check, plan, run, runs, watch, report, compare, review),
    *(registry, use, submit, deploy, services, garbage),
):
    app.add_typer(subject.commands)


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
