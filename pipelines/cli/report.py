"""`srlm show` and `srlm report`: what a run came to, again, on a terminal or as a page."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from components.core.errors import UserError
from components.core.journal import CONTEXT
from components.core.store import join, open_store
from pipelines.cli.options import Debug, Json, RunName, Store, console, print_json

commands = typer.Typer()


@commands.command()
def show(run: RunName, store: Store = "", as_json: Json = False, debug: Debug = False) -> None:
    """Show the tables and verdicts of a run again, also of one that has not ended.

    Example: srlm show demo-20261126-035728-3904
    """
    from pipelines.local.run import run_folder
    from pipelines.local.terminal import show_summary

    kept = run_folder(run) / "summary.json"
    if kept.is_file() and not store:
        summary = json.loads(kept.read_text())
    else:
        with store_of(run, store) as root:
            from components.run.report import summary_of

            summary = summary_of(root, run)
    if as_json:
        print_json(summary)
    else:
        show_summary(console, summary)


@commands.command()
def report(
    run: RunName,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The file; default: report.html in .srlm/runs/RUN/.")
    ] = None,
    store: Store = "",
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Write the report of a run: one HTML file that needs nothing else. Every run leaves one; this makes it anew.

    Example: srlm report demo-20261126-035728-3904 -o report.html
    """
    from components.core.context import read_context
    from components.core.journal import REPORT
    from components.run.html_report import render
    from components.run.report import summary_of
    from pipelines.local.run import run_folder

    with store_of(run, store) as root:
        page = render(read_context(join(root, "runs", run)), summary_of(root, run))
    path = output or run_folder(run) / REPORT
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page)
    if as_json:
        print_json({"run": run, "report": str(path)})
    else:
        console.print(f"report: {path}", highlight=False, soft_wrap=True, markup=False)


@contextmanager
def store_of(run: str, store: str, *others: str) -> Iterator[str]:
    """The root of the store that has these runs; the local one is started. Raises UserError where it lacks one."""
    with addresses_of(run, store, "not asked" if store else "", *others) as addresses:
        yield addresses["store"]


@contextmanager
def addresses_of(run: str, store: str, tracking_uri: str, *others: str) -> Iterator[dict[str, str]]:
    """The same with the registry: `store` and `tracking_uri`; local ones are started for what is not given."""
    from pipelines.local.beforehand import require_run
    from pipelines.local.run import RunOptions, servers

    for name in () if store else (run, *others):
        require_run(name)
    progress = Console(stderr=True, emoji=False)  # what a command prints may be read by a script
    with servers(RunOptions(store, tracking_uri), progress) as addresses:
        root = addresses["store"]
        runs = open_store(join(root, "runs"))
        for name in (run, *others):
            if runs.read(f"{name}/{CONTEXT}") is None:
                close = difflib.get_close_matches(name, {other.partition("/")[0] for other in runs.names()}, 1)
                raise UserError(
                    f"the store {root} has no run {name!r}" + (f" (did you mean {close[0]}?)" if close else ""),
                    "srlm status lists the runs; --store names another store.",
                )
        yield addresses
