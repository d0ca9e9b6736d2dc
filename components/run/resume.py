"""A run goes on where an earlier part of it ended."""

from __future__ import annotations

from typing import Any

from components.core.context import open_step
from components.core.errors import UserError
from components.core.journal import read_journal


def resume_run(state: dict[str, Any], name: str) -> dict[str, Any]:
    """The run's state after the phase of the model `name`. Raises UserError where no part of it got that far."""
    with open_step(state["run"], f"find {name.upper()}") as context:
        for entry in read_journal(context.store, context.run, "states"):
            if entry["name"] == name:
                return {**entry, "data": state["data"]}
        raise UserError(f"the run {context.run} has not made {name.upper()} yet", "Run its earlier part first.")
