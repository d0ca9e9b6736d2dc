"""What can be known before a server is started: a mistake is told in seconds, not after half a minute (issue 15)."""

from __future__ import annotations

import difflib
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from components.core.errors import UserError
from components.core.store import home, open_store
from pipelines.local.services import REGISTRY, registry_file, store_folder, store_runs

if TYPE_CHECKING:
    from pipelines.local.run import RunOptions
    from pipelines.recipe import Recipe

SOME = "srlm models shows what there is."


def check_places(recipe: Recipe, options: RunOptions, run: str) -> None:
    """Raises UserError where the run's first step would: of the store's name, the engine and the endpoints."""
    from components.core.context import RunContext
    from components.run.lifecycle import check_servers

    if options.store:
        open_store(options.store)
    check_servers(RunContext(run=run, recipe=recipe.to_dict(), **vars(options)))


def check_model(reference: str, options: RunOptions, name: str = "") -> None:
    """Raises UserError for what names no model; `@ALIAS` is of the registered model `name`."""
    from components.registry.references import registered_name

    if options.store:
        open_store(options.store)
    if found := registered_name(reference, name):
        require_registered(found, options)


def check_overrides(overrides: Sequence[str]) -> None:
    """Raises UserError for settings that no recipe has; whether their values fit is known with the recipe alone."""
    from pipelines.recipe import load_recipe

    try:
        load_recipe("demo", overrides)
    except UserError as error:
        unknown = [line for line in error.problem.splitlines() if ": unknown key; " in line]
        if unknown:
            raise UserError("\n".join(["--set names no setting:", *unknown, ""]), "Correct it.") from error


def require_registered(name: str, options: RunOptions) -> None:
    """Raises UserError where this machine's registry, if that is the one to ask, has no model of that name, or ""
    where it has none at all.

    It is a file, which is read without its server; what cannot be read there is for MLflow to say.
    """
    if options.tracking_uri:
        return
    if not has_registry():
        raise UserError("the registry of this machine holds no models yet", "srlm run makes some.")
    file = Path(registry_file().removeprefix(REGISTRY))
    try:
        with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as registry:
            names = [row[0] for row in registry.execute("SELECT name FROM registered_models")]
    except sqlite3.Error:
        return
    if name and name not in names:
        close = difflib.get_close_matches(name, names, 1)
        meant = f" (did you mean {close[0]}?)" if close else ""
        raise UserError(f"the registry of this machine holds no models named {name}{meant}", SOME)


def has_registry() -> bool:
    """Whether a run, or somebody else, has begun this machine's registry: MLflow's client would begin it now."""
    return Path(registry_file().removeprefix(REGISTRY)).exists()


def require_run(name: str) -> None:
    """Raises UserError where this machine's store, which does not run, is not worth a start: whatever runs here has a
    folder of its own beside it."""
    known = [folder.name for folder in (home() / "runs").glob("*/")]
    if store_folder().is_dir() and (name in known or store_runs()):
        return
    close = difflib.get_close_matches(name, known, 1)
    meant = f" (did you mean {close[0]}?)" if close else ""
    remedy = "srlm status lists the runs; --store names another store."
    if store_folder().is_dir():
        remedy += (
            f" Should its folder in {home() / 'runs'} have been removed, srlm up starts the store that may have it."
        )
    raise UserError(f"this machine has no run {name!r}{meant}", remedy)
