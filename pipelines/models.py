"""`srlm models`, `promote`, `rollback`, `lineage`: the registry as people look at it and move it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.table import Table

from components.errors import UserError
from components.registry.champion import find_champion, promote, roll_back
from components.registry.client import DIGEST, VERDICT, open_registry
from components.registry.lineage import lineage
from components.registry.references import resolve, resolve_registered
from pipelines.local import Where, servers

COLUMNS = ("model", "version", "aliases", "verdict", "accuracy", "win rate", "LC", "digest", "registered")
FIGURES = ("pairwise_accuracy", "win_rate", "lc_win_rate")


def show_models(where: Where, name: str, console: Console) -> None:
    """One row a version, the newest last; of one registered model or of all."""
    with servers(where, console) as place:
        client = open_registry(place["tracking_uri"])
        rows = [row for found in _models(client, name) for row in _rows(client, found)]
    if not rows:
        raise UserError("the registry holds no models" + (f" named {name}" if name else ""), "srlm run makes some.")
    shown = Table()
    for column in COLUMNS:
        shown.add_column(column, no_wrap=True)
    for row in rows:
        shown.add_row(*row)
    console.print(shown)


def promote_model(where: Where, reference: str, console: Console) -> None:
    """Make a version champion by hand."""
    with servers(where, console) as place:
        model = resolve_registered(place["tracking_uri"], reference)
        client = open_registry(place["tracking_uri"])
        before = find_champion(client, model.name)
        promote(client, model)
    if before and before.version == model.version:
        console.print(f"version {model.version} of {model.name} is champion already")
    else:
        was = f", before it was version {before.version}" if before else ""
        console.print(f"version {model.version} of {model.name} is champion{was}")


def roll_back_champion(where: Where, name: str, console: Console) -> None:
    """Champion and previous change places."""
    with servers(where, console) as place:
        now, before = roll_back(open_registry(place["tracking_uri"]), name)
    console.print(f"version {now.version} of {name} is champion again, version {before.version} was rolled back")


def show_lineage(where: Where, reference: str, console: Console) -> None:
    """The model's history as a tree, with digests and URIs."""
    with servers(where, console) as place:
        ancestors = lineage(resolve(place["tracking_uri"], reference).stage)
    for one in ancestors:
        mark = " (above)" if one.seen else ""
        stage = f" [{one.stage}]" if one.stage and one.stage != one.role else ""
        line = f"{'  ' * one.depth}{one.role}{stage}  {one.digest[:12]}  {one.uri}{mark}"
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _models(client: Any, name: str) -> Sequence[Any]:
    found = client.search_registered_models(filter_string=f"name = '{name}'" if name else None)
    return list(found)


def _rows(client: Any, model: Any) -> list[tuple[str, ...]]:
    versions = sorted(client.search_model_versions(f"name = '{model.name}'"), key=lambda one: int(one.version))
    return [_row(client, model, version) for version in versions]


def _row(client: Any, model: Any, version: Any) -> tuple[str, ...]:
    aliases = [alias for alias, number in model.aliases.items() if str(number) == str(version.version)]
    figures = _figures(client, version)
    return (
        model.name,
        str(version.version),
        ", ".join(sorted(aliases)),
        version.tags.get(VERDICT, "-"),
        *(_percent(figures.get(name)) for name in FIGURES),
        version.tags.get(DIGEST, "")[:12],
        f"{datetime.fromtimestamp(version.creation_timestamp / 1000, UTC):%Y-%m-%d %H:%M}",
    )


def _figures(client: Any, version: Any) -> dict[str, float]:
    run = version.tags.get("srlm.mlflow_run")
    return dict(client.get_run(run).data.metrics) if run else {}


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"
