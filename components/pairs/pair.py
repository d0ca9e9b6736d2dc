"""The step that makes a round's preference pairs."""

from __future__ import annotations

from typing import Any

from components.core.context import open_step
from components.pairs.pairs import make_pairs
from components.pairs.settings import PairsSettings


def pair_candidates(before: dict[str, Any]) -> str:
    """Pairs of the candidates and judgements of the model in the state `before`; returns their URI."""
    name, judged = before["name"], (before["candidates"], before["judgements"])
    with open_step(before["run"], f"pair {name.upper()}'s answers") as context:
        settings = context.section("pairs", PairsSettings).of_round(int(name[1:]))
        return context.make(f"{name}/pairs", lambda: make_pairs(context.store, settings, *judged))
