"""`srlm compare`: what runs set and what they came to, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from components.core.errors import UserError
from components.core.local_files import write_whole
from components.core.store import join
from pipelines.cli.options import Debug, Store, console, print_json
from pipelines.cli.report import store_of

commands = typer.Typer()


@commands.command()
def compare(
    runs: Annotated[list[str], typer.Argument(help="Two or more, as srlm status shows them; the first is the base.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The page; default: compare-FIRST.html in .srlm/runs/LAST/.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON, and write no page.")] = False,
    store: Store = "",
    debug: Debug = False,
) -> None:
    """Compare runs: settings and figures that differ, with intervals, and their charts one above the other.

    It reads what the runs have measured. To have two models measured, and refused where one is worse: srlm eval.

    Example: srlm compare demo-20261126-035728-3904 demo-20261126-051102-77aa
    """
    from components.core.context import read_context
    from components.gate.settings import GatePolicy
    from components.run import compare_page
    from components.run.comparison import compare_runs, require_figures
    from components.run.report import summary_of
    from pipelines.local.run import run_folder
    from pipelines.local.terminal import print_table

    if len(set(runs)) < 2:
        raise UserError("one run cannot be compared with itself", "Name two; srlm show RUN shows one.")
    with store_of(runs[0], store, *runs[1:]) as root:
        contexts = [read_context(join(root, "runs", run)) for run in runs]
        summaries = [summary_of(root, run) for run in runs]
        require_figures(summaries)
        policy = contexts[0].section("gate", GatePolicy)
        settings = differing([{"engine": one.engine, **one.recipe} for one in contexts])
        rows = compare_runs(summaries, policy.resampling())
        page = "" if as_json else compare_page.render_comparison(summaries, rows, settings, policy)
    if as_json:
        print_json(compare_page.as_json(rows, settings, runs))
        return
    if settings:
        print_table(console, "", compare_page.settings_table(settings, runs))
    else:
        console.print("no setting differs")
    print_table(console, "", compare_page.figures_table(rows, runs))
    path = output or run_folder(runs[-1]) / f"compare-{runs[0]}.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, page)
    console.print(f"page: {path}", highlight=False, soft_wrap=True, markup=False)


def differing(recipes: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """The settings that are not the same in all of them, by dotted name, as text; "-" where a recipe has none.

    What a section took over from another setting, the seed say, is told once, where it was set.
    """
    from pipelines.recipe import flat, taken_from

    here = [{name: _written(value) for name, value in flat(dict(recipe)).items()} for recipe in recipes]
    both = {name: [one.get(name, "-") for one in here] for name in sorted({name for one in here for name in one})}
    differ = {name: values for name, values in both.items() if len(set(values)) > 1}
    return {name: values for name, values in differ.items() if differ.get(taken_from(name)) != values}


def _written(value: Any) -> str:
    """As people write it: a recipe that went through Kubeflow has floats for whole numbers."""
    return f"{value:g}" if isinstance(value, float) and value.is_integer() else str(value)
