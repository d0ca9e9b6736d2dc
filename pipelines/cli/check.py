"""`srlm check`: everything about a recipe that can be known before it runs for days."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape

from pipelines.cli.options import (
    AnnotatorEndpoint,
    AnnotatorModel,
    Debug,
    Json,
    JudgeEndpoint,
    JudgeModel,
    Overrides,
    RecipeName,
    console,
    print_json,
)

commands = typer.Typer()
MARKS = {
    "ok": "[green]ok[/green]     ",
    "warning": "[yellow]warning[/yellow]",
    "broken": "[red]FAILS[/red]  ",
    "unknown": "[yellow]?[/yellow]      ",
}


@commands.command()
def check(
    recipe: RecipeName,
    overrides: Overrides = [],  # noqa: B006  typer copies it
    endpoint: Annotated[str, typer.Option(help="A server of the run's models, to be examined and to judge.")] = "",
    judge_endpoint: JudgeEndpoint = "",
    annotator_endpoint: AnnotatorEndpoint = "",
    judge_model: JudgeModel = "",
    annotator_model: AnnotatorModel = "",
    judge: Annotated[bool, typer.Option("--judge", help="Try a judgement by M0 here, whatever its size.")] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Check a recipe before it runs: data, model, sizes, one judgement, endpoints.

    Exit code 0: nothing fails, 1: a run would fail, 2: something could not be checked.

    Example: srlm check llama3-8b --judge-endpoint http://judge:8000
    """
    from pipelines.local.check import Check
    from pipelines.local.run import RunOptions
    from pipelines.recipe import load_recipe

    names = {"judge_model": judge_model, "annotator_model": annotator_model}
    options = RunOptions(
        endpoint=endpoint, judge_endpoint=judge_endpoint, annotator_endpoint=annotator_endpoint, **names
    )
    found = []
    for name, finding in Check(load_recipe(recipe, overrides), options, judge).examine():
        found.append({"name": name, **vars(finding)})
        remedy = f" -> {finding.remedy}" if finding.remedy else ""
        line = f"{MARKS[finding.state]} {name:<8} {escape(finding.text + remedy)}"
        if not as_json:
            console.print(line, highlight=False, soft_wrap=True)
    states = [one["state"] for one in found]
    fails, unknown, warnings = (states.count(state) for state in ("broken", "unknown", "warning"))
    if as_json:
        print_json({"checks": found})
    else:
        counts = f"{len(states)} checks: {fails} fail, {unknown} could not be made, {warnings} warnings"
        console.print(counts, highlight=False)
    raise typer.Exit(1 if fails else 2 if unknown else 0)
