"""`srlm status`, `logs`, `cancel`, `clean` and `doctor`: runs of every kind, and checks of what they need."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from components.core.errors import UserError
from pipelines.cli.options import (
    TRACKING,
    Ca,
    Cookie,
    Debug,
    Host,
    Json,
    Namespace,
    Overrides,
    RunName,
    RunStore,
    console,
    print_json,
    run_names,
)

if TYPE_CHECKING:
    from pipelines.runs import Answers, Kind, Run
    from pipelines.watch.reading import Reading

commands = typer.Typer()

MARKS = {
    "ok": "[green]ok[/green]    ",
    "warning": "[yellow]lacks[/yellow] ",
    "broken": "[red]BROKEN[/red]",
    "unknown": "[yellow]?[/yellow]     ",
}


@commands.command()
def status(
    run: Annotated[
        str, typer.Argument(help="One run, with what its pods say; default: all recent ones.", autocompletion=run_names)
    ] = "",
    store: RunStore = "",
    namespace: Namespace = "",
    host: Host = "",
    ca: Ca = "",
    cookie: Cookie = "",
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Show runs of every kind: on this machine, as a Job, on Kubeflow Pipelines; of one run how far it is.

    Example: srlm status demo-20261126-035728-3904
    """
    from pipelines.runs import find, recent

    if store:
        _show_records(store, run, as_json)
        return
    kinds = every_kind(host, namespace)
    answers = (find(kinds, run) if run else recent(kinds)).without_submissions().with_steps()
    if run:
        answers.require(run)
    if as_json:
        known = [_entry(kind, known, detailed=bool(run)) for kind, known in answers.runs]
        print_json({"runs": known, "not_asked": answers.errors})
    elif run:
        for kind, one in answers.runs:
            _print_run(kind, one)
    else:
        _print_table([known for _, known in answers.runs])
        _print_errors(answers)


def _print_run(kind: Kind, run: Run) -> None:
    """Its state, how far it is where that can be read, and what else is known of it."""
    from pipelines.watch.tree import Tree

    separator = ", at " if run.state == "running" else ": "
    step = f"{separator}{run.step}" if run.step else ""
    _print(f"{run.name} ({run.kind}, started {run.age} ago): {run.state}{step}")
    reading = _reading(kind, run)
    if reading and reading.courses:
        console.print(Tree(run.name, reading.outline, reading.courses, reading.over))
    for line in kind.details(run):
        _print(f"  {line}")


def _reading(kind: Kind, run: Run) -> Reading | None:
    """None where its records cannot be read from here."""
    try:
        with kind.watched(run) as read:
            return read()
    except UserError:
        return None


def _entry(kind: Kind, run: Run, detailed: bool) -> dict[str, Any]:
    """A run for scripts; in detail with its steps and what its pods say."""
    since = run.started.isoformat() if run.started else None
    entry = {"kind": run.kind, "name": run.name, "state": run.state, "started": since, "step": run.step, "id": run.id}
    if not detailed:
        return entry
    reading = _reading(kind, run)
    return entry | {"details": kind.details(run), **(reading.document() if reading else {"steps": None})}


def _show_records(store: str, run: str, as_json: bool) -> None:
    """What a store alone tells of a run."""
    from pipelines.local.records import records_of
    from pipelines.watch.tree import Tree

    reading = records_of(store, run).read()
    if as_json:
        entry = {"kind": "store", "name": run, "state": reading.state, **reading.document()}
        print_json({"runs": [entry], "not_asked": []})
        return
    _print(f"{run}: {reading.state}")
    console.print(Tree(run, reading.outline, reading.courses, reading.over))


@commands.command()
def logs(
    run: RunName,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the run ends.")] = False,
    namespace: Namespace = "",
    host: Host = "",
    ca: Ca = "",
    cookie: Cookie = "",
    debug: Debug = False,
) -> None:
    """Show the log of a run.

    Example: srlm logs demo-20261126-035728-3904 --follow
    """
    from pipelines.runs import find

    answers = find(every_kind(host, namespace), run)
    answers.require(run)
    # a run that was submitted by a Job has that Job's name, and its servers are found by it, too
    kind, known = min(answers.runs, key=lambda pair: pair[1].kind in ("submission", "orphaned"))
    try:
        for line in kind.log(known, follow):
            print(line, flush=follow)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


@commands.command()
def cancel(
    run: RunName,
    namespace: Namespace = "",
    host: Host = "",
    ca: Ca = "",
    cookie: Cookie = "",
    debug: Debug = False,
) -> None:
    """End a run and free its servers. What it has finished is kept.

    Example: srlm cancel demo-20261126-035728-3904
    """
    from pipelines.runs import find

    answers = find(every_kind(host, namespace), run)
    for kind, known in answers.runs:
        for line in kind.cancel(known):
            _print(line)
        _print(f"{known.name} ({known.kind}): nothing of it runs any more, or it is ending")
    if not answers.runs:
        _print(f"there is no run {run!r} to cancel")
        _print_errors(answers)


@commands.command()
def clean(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would go, and what stays.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Remove it without asking.")] = False,
    namespace: Namespace = "",
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Free the servers and TrainJobs of runs that have ended. The chart's reaper does so every ten minutes.

    Example: srlm clean --dry-run -n training
    """
    from components.kubernetes.client import PATIENCE_S, connect, in_a_pod
    from components.kubernetes.leftovers import held_objects, remove_held

    if as_json and not dry_run and not yes:
        raise UserError("--json does not ask before it removes", "Give --dry-run or --yes, too.")
    say: Callable[[str], None] = (lambda text: None) if as_json else _print
    cluster = connect(namespace, patience=PATIENCE_S if in_a_pod() else 0.0)
    left, told = [], []
    for held in held_objects(cluster):
        goes, why = ("goes ", held.why) if held.why else ("stays", "it lives")
        say(f"{goes} {held.kind} {held.name} of the run {held.run}: {why}")
        told.append({**vars(held), "why": why, "goes": bool(held.why), "removed": False})
        left += [(held, told[-1])] if held.why else []
    if dry_run or not left:
        say("nothing was removed" if dry_run else "there is nothing to remove")
    elif yes or (console.is_terminal and typer.confirm("Remove what goes?")):
        for held, entry in left:
            if remove_held(cluster, held):
                entry["removed"] = True
                say(f"removed the {held.kind} {held.name}")
    else:
        say("nothing was removed; --yes removes what goes")
    if as_json:
        print_json({"objects": told})


@commands.command()
def doctor(
    only: Annotated[str, typer.Option(help="Names of checks, with commas; default: all that apply here.")] = "",
    pull: Annotated[bool, typer.Option("--pull", help="Start a pod of each image.")] = False,
    namespace: Namespace = "",
    host: Host = "",
    ca: Ca = "",
    cookie: Cookie = "",
    store: Annotated[str, typer.Option(envvar="SRLM_STORE", help="s3://bucket/prefix or a folder.")] = "",
    tracking_uri: Annotated[str, typer.Option(envvar=TRACKING, help="An MLflow server.")] = "",
    recipe: Annotated[str, typer.Option(help="Whose `cluster` is looked for; default: the chart's names.")] = "",
    overrides: Overrides = [],  # noqa: B006  typer copies it
    endpoint: Annotated[str, typer.Option(help="Examine a server of models: what can it do of what runs ask?")] = "",
    endpoint_model: Annotated[str, typer.Option(help="The model's name there; its key is SRLM_ENDPOINT_API_KEY.")] = "",
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Check everything that a run needs, with a remedy for what is broken (exit code 1).

    Example: srlm doctor --recipe llama3-8b -n training
    """
    from components.serving.address import ENDPOINT_KEY, Address
    from pipelines.cluster.doctor import Doctor
    from pipelines.recipe import load_recipe

    names = [name.strip() for name in only.split(",") if name.strip()]
    found = []
    address = Address(endpoint, endpoint_model, ENDPOINT_KEY) if endpoint else None
    settings = load_recipe(recipe or "demo", overrides).cluster
    for name, finding in Doctor(namespace, store, tracking_uri, host, pull, address, settings).examine(names):
        found.append({"name": name, **vars(finding)})
        if as_json:
            continue
        remedy = f" -> {finding.remedy}" if finding.remedy else ""
        console.print(
            f"{MARKS[finding.state]} {name:<11} {escape(finding.text + remedy)}", highlight=False, soft_wrap=True
        )
    if as_json:
        print_json({"checks": found})
    raise typer.Exit(1 if any(finding["state"] == "broken" for finding in found) else 0)


def _print(text: str) -> None:
    console.print(text, highlight=False, soft_wrap=True, markup=False)


def _print_table(runs: list[Run]) -> None:
    if not runs:
        _print("no runs yet: srlm run demo starts one on this machine, srlm submit or srlm manifests one on a cluster")
        return
    table = Table()
    for column in ("kind", "run", "state", "age", "step"):
        table.add_column(column, overflow="fold")
    for run in runs:
        table.add_row(run.kind, escape(run.name), run.state, run.age, escape(run.step))
    console.print(table)


def _print_errors(answers: Answers) -> None:
    for error in answers.errors:
        _print(f"could not be queried: {error}")


def every_kind(host: str = "", namespace: str = "") -> list[Kind]:
    """All kinds; none is queried yet."""
    from pipelines.cluster.job_runs import JobRuns
    from pipelines.cluster.kubeflow_runs import KubeflowRuns
    from pipelines.local.runs import LocalRuns

    return [LocalRuns(), JobRuns(namespace), KubeflowRuns(host, namespace)]
