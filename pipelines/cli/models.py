"""`srlm models`, `promote`, `rollback`, `lineage`: the registry, shown and changed by hand."""

from __future__ import annotations

import getpass
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from components.core.errors import UserError
from components.metrics.labels import lc_form
from components.registry.champion import SIGN_OFF, WAITS, promote, roll_back, sign_off
from components.registry.client import DIGEST, MLFLOW_RUN, RUN, STAGE, VERDICT, name_is, not_there, registry
from components.registry.lineage import Ancestor, lineage
from components.registry.metric_names import flat
from components.registry.references import resolve, resolve_registered
from pipelines.cli.options import print_json, talk
from pipelines.local.beforehand import check_model, has_registry, require_registered
from pipelines.local.run import RunOptions, looked_up, servers

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion, RegisteredModel

COLUMNS = ("version", "aliases", "verdict", "accuracy", "win rate", "LC", "digest", "date")
FIGURES = ("pairwise_accuracy", "win_rate", "lc_win_rate")
WIDE_TERMINAL = 80
UNFOLDED = ("version", "verdict", "accuracy", "LC", "digest")  # columns that fold in narrower terminals alone
Rows = list[tuple[str, ...]]


def show_models(options: RunOptions, name: str, console: Console, as_json: bool = False) -> None:
    """A table for one registered model or each of them; one row a version, the newest last."""
    if as_json and not (name or options.tracking_uri or has_registry()):
        print_json({"models": []})
        return
    require_registered(name, options)
    tracking_uri = looked_up(options).tracking_uri
    with registry(tracking_uri) as client:
        models = _models(client, name)
        if not models and not (as_json and not name):
            named = f" named {name}" if name else ""
            raise UserError(f"the registry {tracking_uri} holds no models{named}", "srlm run makes some.")
        if as_json:
            print_json({"models": [_entry(client, model) for model in models]})
            return
        tables = {model.name: _rows(client, model) for model in models}
    for title, rows in tables.items():
        console.print(_table(title, rows, console.width))


def promote_model(options: RunOptions, reference: str, console: Console, as_json: bool = False) -> None:
    """Make a version champion by hand."""
    check_model(reference, options)
    with servers(looked_up(options), talk(as_json)) as addresses:
        model = resolve_registered(addresses["tracking_uri"], reference)
        with registry(addresses["tracking_uri"]) as client:
            before = promote(client, model)
            sign_off(client, model, _person())
    if as_json:
        print_json({"name": model.name, "champion": model.version, "previous": before.version if before else None})
        return
    change = f", before it was version {before.version}" if before else ""
    if before and before.version == model.version:
        change = " already"
    _print(console, f"version {model.version} of {model.name} is champion{change}")


def _person() -> str:
    """Who runs this, as the system knows them; a pod's user may have no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "an unnamed user"


def roll_back_champion(options: RunOptions, name: str, console: Console, as_json: bool = False) -> None:
    """Champion and previous change places."""
    require_registered(name, options)
    with servers(looked_up(options), talk(as_json)) as addresses, registry(addresses["tracking_uri"]) as client:
        now, before = roll_back(client, name)
    if as_json:
        print_json({"name": name, "champion": now.version, "rolled_back": before.version})
        return
    _print(console, f"version {now.version} of {name} is champion again, version {before.version} was rolled back")


def show_lineage(options: RunOptions, reference: str, console: Console, as_json: bool = False) -> None:
    """The model's history as a tree, one line a stage: role, stage, digest, URI, and what was kept of its records."""
    check_model(reference, options)
    with servers(looked_up(options), talk(as_json)) as addresses:
        model = resolve(addresses["tracking_uri"], reference)
        ancestors = lineage(model.stage, model.digest)
    if as_json:
        print_json({"model": reference, "stage": model.stage, "ancestors": [vars(one) for one in ancestors]})
        return
    depths = [ancestor.depth for ancestor in ancestors]
    for index, ancestor in enumerate(ancestors):
        console.print(branch(depths, index) + _line(ancestor), highlight=False, soft_wrap=True)


def branch(depths: Sequence[int], index: int) -> str:
    """The lines before a node of a tree that is given by its nodes' depths, in depth-first order."""
    depth, later = depths[index], depths[index + 1 :]

    def goes_on(level: int) -> bool:
        return next((other for other in later if other <= level), -1) == level

    above = "".join("│  " if goes_on(level) else "   " for level in range(1, depth))
    return above + ("├─ " if goes_on(depth) else "└─ ") if depth else ""


def _line(ancestor: Ancestor) -> str:
    """Rich's markup of one stage; a hub commit, a file's and a stage's digest are all cut to 12 digits."""
    stage = f" ({ancestor.stage})" if ancestor.stage and ancestor.stage != ancestor.role else ""
    text = f"[bold]{escape(ancestor.role)}[/bold]{stage}  {escape(ancestor.digest[:12])}  {escape(ancestor.uri)}"
    if ancestor.problem:
        return f"{text}  [red]{escape(ancestor.problem)}[/red]"
    if ancestor.seen:
        return f"{text}  [dim](above)[/dim]"
    kept = ", ".join(f"{count:,} {name}" for name, count in ancestor.kept.items())
    return f"{text}  [dim]{escape(kept)}[/dim]" if kept else text


def _print(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def _models(client: MlflowClient, name: str) -> list[RegisteredModel]:
    """The registered model of that name, if there is one; without a name all of them."""
    from mlflow.exceptions import MlflowException

    if name:
        try:
            return [client.get_registered_model(name)]
        except MlflowException as error:
            if not_there(error):
                return []
            raise
    models: list[RegisteredModel] = []
    page = client.search_registered_models()
    while page.token:
        models += page
        page = client.search_registered_models(page_token=page.token)
    return models + list(page)


def _rows(client: MlflowClient, model: RegisteredModel) -> Rows:
    """One row a version, in the order of COLUMNS."""
    rows: Rows = []
    versions = client.search_model_versions(name_is(model.name))
    for version in sorted(versions, key=lambda version: int(version.version)):
        aliases = [alias for alias, number in model.aliases.items() if str(number) == str(version.version)]
        figures = _figures(client, version)
        shares = [figures.get(name) for name in FIGURES]
        created = datetime.fromtimestamp(version.creation_timestamp / 1000, UTC)
        rows.append(
            (
                str(version.version),
                "\n".join(sorted(aliases)),
                version.tags.get(VERDICT, "-") + (", waits" if version.tags.get(SIGN_OFF) == WAITS else ""),
                *("-" if share is None else f"{100 * share:.1f} %" for share in shares[:-1]),
                "-" if shares[-1] is None else f"{100 * shares[-1]:.1f} % {lc_form(figures)}".rstrip(),
                version.tags.get(DIGEST, "-")[:12],
                f"{created:%Y-%m-%d %H:%M}",
            )
        )
    return rows


def _entry(client: MlflowClient, model: RegisteredModel) -> dict[str, Any]:
    """A registered model for scripts, with its aliases and versions, the newest last; null is what is not known."""
    versions = []
    for version in sorted(client.search_model_versions(name_is(model.name)), key=lambda one: int(one.version)):
        tags = version.tags
        known = {
            "verdict": tags.get(VERDICT),
            "digest": tags.get(DIGEST),
            "stage": tags.get(STAGE),
            "run": tags.get(RUN),
        }
        created = datetime.fromtimestamp(version.creation_timestamp / 1000, UTC)
        figures = {"created": created.isoformat(), "metrics": _figures(client, version)}
        versions.append({"version": str(version.version), **known, **figures})
    return {
        "name": model.name,
        "aliases": {alias: str(number) for alias, number in model.aliases.items()},
        "versions": versions,
    }


def _figures(client: MlflowClient, version: ModelVersion) -> dict[str, float]:
    """The metrics of the version's run in MLflow; none where it has no run, or somebody deleted it."""
    from mlflow.exceptions import MlflowException

    if MLFLOW_RUN not in version.tags:
        return {}
    try:
        return flat(client.get_run(version.tags[MLFLOW_RUN]).data.metrics)
    except MlflowException as error:
        if not_there(error):
            return {}
        raise


def _table(name: str, rows: Rows, width: int) -> Table:
    """Where columns are too narrow they fold their cells: nothing is cut off."""
    table = Table(title=escape(name), title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in COLUMNS:
        table.add_column(column, overflow="fold", no_wrap=width >= WIDE_TERMINAL and column in UNFOLDED)
    for row in rows:
        table.add_row(*map(escape, row))
    return table
