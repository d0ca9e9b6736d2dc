"""`srlm models`, `promote`, `rollback`, `lineage`: the registry as people look at it and move it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from components.core.errors import UserError
from components.registry.champion import promote, roll_back
from components.registry.client import DIGEST, MLFLOW_RUN, VERDICT, not_there, registry
from components.registry.lineage import Ancestor, lineage
from components.registry.references import resolve, resolve_registered
from pipelines.local.run import RunOptions, servers

COLUMNS = ("version", "aliases", "verdict", "accuracy", "win rate", "LC", "digest", "date")
FIGURES = ("pairwise_accuracy", "win_rate", "lc_win_rate")
WIDE, WHOLE = 80, ("version", "verdict", "accuracy", "LC", "digest")  # columns that fold in narrower terminals alone
Rows = list[tuple[str, ...]]


def show_models(where: RunOptions, name: str, console: Console) -> None:
    """A table for one registered model or each of them; one row a version, the newest last."""
    with _tracking(where, console) as tracking_uri, registry(tracking_uri) as client:
        found = {model.name: _rows(client, model) for model in _models(client, name)}
    if not found:
        raise UserError(
            f"the registry {tracking_uri} holds no models" + (f" named {name}" if name else ""), "srlm run makes some."
        )
    for title, rows in found.items():
        console.print(_table(title, rows, console.width))


def promote_model(where: RunOptions, reference: str, console: Console) -> None:
    """Make a version champion by hand."""
    with servers(where, console) as place:
        model = resolve_registered(place["tracking_uri"], reference)
        with registry(place["tracking_uri"]) as client:
            before = promote(client, model)
    if before and before.version == model.version:
        _say(console, f"version {model.version} of {model.name} is champion already")
    else:
        was = f", before it was version {before.version}" if before else ""
        _say(console, f"version {model.version} of {model.name} is champion{was}")


def roll_back_champion(where: RunOptions, name: str, console: Console) -> None:
    """Champion and previous change places."""
    with servers(where, console) as place, registry(place["tracking_uri"]) as client:
        now, before = roll_back(client, name)
    _say(console, f"version {now.version} of {name} is champion again, version {before.version} was rolled back")


def show_lineage(where: RunOptions, reference: str, console: Console) -> None:
    """The model's history as a tree, one line a stage: role, stage, digest, URI, and what was kept of its records."""
    with servers(where, console) as place:
        found = resolve(place["tracking_uri"], reference)
        ancestors = lineage(found.stage, found.digest)
    depths = [one.depth for one in ancestors]
    for place_in_tree, one in enumerate(ancestors):
        console.print(branch(depths, place_in_tree) + _line(one), highlight=False, soft_wrap=True)


def branch(depths: Sequence[int], place: int) -> str:
    """What stands before a node of a tree that is given by its nodes' depths, in depth-first order."""
    depth, later = depths[place], depths[place + 1 :]

    def goes_on(level: int) -> bool:
        return next((one for one in later if one <= level), -1) == level

    above = "".join("│  " if goes_on(level) else "   " for level in range(1, depth))
    return above + ("├─ " if goes_on(depth) else "└─ ") if depth else ""


def _line(one: Ancestor) -> str:
    """Rich's markup of one stage; a hub commit, a file's and a stage's digest are all cut to 12 digits."""
    stage = f" ({one.stage})" if one.stage and one.stage != one.role else ""
    text = f"[bold]{escape(one.role)}[/bold]{stage}  {escape(one.digest[:12])}  {escape(one.uri)}"
    if one.problem:
        return f"{text}  [red]{escape(one.problem)}[/red]"
    if one.seen:
        return f"{text}  [dim](above)[/dim]"
    kept = ", ".join(f"{count:,} {name}" for name, count in one.kept.items())
    return f"{text}  [dim]{escape(kept)}[/dim]" if kept else text


def _say(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def _tracking(where: RunOptions, console: Console) -> Iterator[str]:
    """The registry's URI; the local servers run where none is given."""
    if where.tracking_uri:
        yield where.tracking_uri
        return
    with servers(where, console) as place:
        yield place["tracking_uri"]


def _models(client: Any, name: str) -> list[Any]:
    if name:
        return _named(client, name)
    found, token = [], None
    while True:
        page = client.search_registered_models(page_token=token)
        found += page
        if not (token := page.token):
            return found


def _named(client: Any, name: str) -> list[Any]:
    from mlflow.exceptions import MlflowException

    try:
        return [client.get_registered_model(name)]
    except MlflowException as error:
        if not_there(error):
            return []
        raise


def _table(name: str, rows: Rows, width: int) -> Table:
    """Where columns are too narrow they fold their cells: nothing is cut off."""
    shown = Table(title=escape(name), title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in COLUMNS:
        shown.add_column(column, overflow="fold", no_wrap=width >= WIDE and column in WHOLE)
    for row in rows:
        shown.add_row(*map(escape, row))
    return shown


def _rows(client: Any, model: Any) -> Rows:
    versions = sorted(client.search_model_versions(f"name = '{model.name}'"), key=lambda one: int(one.version))
    return [_row(client, model, version) for version in versions]


def _row(client: Any, model: Any, version: Any) -> tuple[str, ...]:
    aliases = [alias for alias, number in model.aliases.items() if str(number) == str(version.version)]
    figures = _figures(client, version)
    return (
        str(version.version),
        "\n".join(sorted(aliases)),
        version.tags.get(VERDICT, "-"),
        *(_percent(figures.get(name)) for name in FIGURES),
        version.tags.get(DIGEST, "-")[:12],
        f"{datetime.fromtimestamp(version.creation_timestamp / 1000, UTC):%Y-%m-%d %H:%M}",
    )


def _figures(client: Any, version: Any) -> dict[str, float]:
    from mlflow.exceptions import MlflowException

    try:
        return dict(client.get_run(version.tags[MLFLOW_RUN]).data.metrics) if MLFLOW_RUN in version.tags else {}
    except MlflowException as error:
        if not_there(error):  # somebody deleted the run
            return {}
        raise


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"
