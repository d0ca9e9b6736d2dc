"""`srlm plan`: what a run would do, what of it is done, and what the rest takes; nothing is run."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipelines.cli.options import (
    AnnotatorEndpoint,
    AnnotatorModel,
    Debug,
    Json,
    JudgeEndpoint,
    JudgeModel,
    Overrides,
    RecipeName,
    Store,
    console,
    print_json,
)

if TYPE_CHECKING:
    from pipelines.forecast.estimate import Estimate
    from pipelines.forecast.plan import Line, Plan

commands = typer.Typer()


@commands.command()
def plan(
    recipe: RecipeName,
    overrides: Overrides = [],  # noqa: B006  typer copies it
    store: Store = "",
    engine: Annotated[str, typer.Option(help="What is to serve the models: earlier runs with it are measured.")] = "",
    judge_endpoint: JudgeEndpoint = "",
    annotator_endpoint: AnnotatorEndpoint = "",
    judge_model: JudgeModel = "",
    annotator_model: AnnotatorModel = "",
    like: Annotated[str, typer.Option("--run", help="Take engine and endpoints, where not given, of this run.")] = "",
    explain: Annotated[bool, typer.Option("--explain", help="Show how each estimate comes about.")] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Show what a run of a recipe would do: every stage, what is finished, what is left, and what that takes.

    Example: srlm plan demo --set prompts.count=16 --explain
    """
    from components.core.context import read_context
    from components.core.store import join
    from pipelines.forecast.plan import make_plan
    from pipelines.recipe import load_recipe

    loaded = load_recipe(recipe, overrides)
    given = {"judge_endpoint": judge_endpoint, "annotator_endpoint": annotator_endpoint, "engine": engine}
    given |= {"judge_model": judge_model, "annotator_model": annotator_model}
    with _store(store) as root:
        context = read_context(join(root, "runs", like)) if like else None
        where = {name: value or str(getattr(context, name, "")) for name, value in given.items()}
        made = make_plan(loaded, root, "plan", where | {"engine": where["engine"] or "embedded"})
    if as_json:
        print_json(as_values(made))
    else:
        show_plan(made, explain)


@contextmanager
def _store(store: str) -> Iterator[str]:
    """The store's root; the local one is started where there is one, and else nothing is made yet."""
    from pipelines.local.run import RunOptions, servers
    from pipelines.local.services import store_folder

    if store or store_folder().is_dir():
        with servers(RunOptions(store), Console(stderr=True, emoji=False), registry=False) as addresses:
            yield addresses["store"]
        return
    with tempfile.TemporaryDirectory(prefix="srlm-plan-") as nothing:
        yield nothing


def show_plan(plan: Plan, explain: bool) -> None:
    """One row a stage, then the sums; with `explain` a line for each estimate."""
    table = Table(title=f"plan of {plan.recipe.name}", title_justify="left")
    for column in ("stage", "key", "state", "left to do"):
        table.add_column(column, overflow="fold")
    table.add_column("takes", justify="right")
    for line in plan.lines:
        finished = line.found.manifest is not None
        takes = _range(line.estimate) if line.estimate else "" if finished else "not known"
        cells = (line.found.name, line.found.key or "-", _state(line), _left(line), takes)
        table.add_row(*map(escape, cells), style="dim" if finished else "")
    console.print(table)
    for line in plan.lines if explain else ():
        if line.estimate:
            _print(f"{line.found.name}: {_range(line.estimate)} = {line.estimate.formula}")
    for text in _sums(plan):
        _print(text)


def _state(line: Line) -> str:
    found = line.found
    if found.manifest:
        from pipelines.runs import age

        by = f"by {line.made_by}, " if line.made_by else ""
        return f"made {by}{age(datetime.fromisoformat(found.manifest.created))} ago"
    if found.waits_for:
        return f"waits for {found.waits_for}"
    if found.problem:
        return f"cannot be looked at: {found.problem}"
    from components.run.look import CHECKPOINTS

    saved = [f"step {n:,}" if kind == CHECKPOINTS else f"{n:,} {kind}" for kind, n in found.saved.items() if n]
    return f"begun: {', '.join(saved)}" if saved else "to be made"


def _left(line: Line) -> str:
    """All of its work: what an earlier attempt has saved of it stands beside."""
    work = line.work
    if line.found.manifest:
        return ""
    parts = [f"{one.number:,} {one.what}" for one in work.asked]
    tokens = sum(one.number * one.longest for one in work.asked)
    parts += [f"{work.steps:,} steps"] if work.steps else []
    text = ("up to " if work.bound and parts else "") + ", ".join(parts)
    text += f" (up to {tokens:,} tokens)" if tokens else ""
    return text + f" and {work.uncounted} that are not counted yet" * bool(work.uncounted)


def _range(estimate: Estimate) -> str:
    """ "70 s (60 s to 80 s)", without what rounds to the same."""
    from pipelines.runs import duration

    low, middle, high = map(duration, (estimate.low, estimate.seconds, estimate.high))
    return middle if low == high else f"{middle} ({low} to {high})"


def _sums(plan: Plan) -> Iterator[str]:
    left, total = [line for line in plan.lines if not line.found.manifest], plan.total()
    if not left:
        yield f"all {len(plan.lines)} stages are finished: a run of it makes nothing"
        return
    yield f"{len(left)} of {len(plan.lines)} stages are to be made, in {plan.steps} steps"
    if total.estimate:
        yield f"together about {_range(total.estimate)} ({total.estimate.formula})"
    if total.unknown:
        asking = [one.found.name for one in left if not one.estimate and (one.work.size or one.work.uncounted)]
        named = [*asking, f"{len(total.unknown) - len(asking)} that ask and train no model"]
        why = "nothing like them was measured in this store, and no formula fits (docs/plan.md)"
        yield f"not in it: {', '.join(named)}: {why}" if total.estimate else f"how long is not known: {why}"
    if total.gpu_hours:
        price = "cluster.gpu_hour_price would say the price" if total.price is None else f"price {total.price:,.2f}"
        yield f"GPU hours: {total.gpu_hours:,.2f}; {price}"


def as_values(plan: Plan) -> dict[str, Any]:
    """The plan as JSON values; null is what is not known."""
    return {
        "recipe": plan.recipe.name,
        "finished": plan.finished,
        "stages": [_as_values(line) for line in plan.lines],
        "steps": plan.steps,
        "total": asdict(plan.total()),
    }


def _as_values(line: Line) -> dict[str, Any]:
    found, work = line.found, asdict(line.work)
    work["asked"] = [one._asdict() for one in line.work.asked]
    return {
        "name": found.name,
        "key": found.key or None,
        "uri": found.uri or None,
        "finished": found.manifest is not None,
        "created": found.manifest.created if found.manifest else None,
        "made_by": line.made_by or None,
        "waits_for": found.waits_for or None,
        "problem": found.problem or None,
        "saved": found.saved,
        "left": line.left,
        "work": work,
        "estimate": asdict(line.estimate) if line.estimate else None,
    }


def _print(text: str) -> None:
    console.print(text, highlight=False, soft_wrap=True, markup=False)
