"""The method and its two control experiments: what differs is a few settings of one recipe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from examples.world.make import overrides
from pipelines.recipe import Recipe, load_recipe


@dataclass(frozen=True)
class Condition:
    """One way to run the recipe `world`; `settings` are --set overrides."""

    name: str
    meaning: str
    settings: tuple[str, ...] = ()

    def recipe(self, folder: Path, seed: int, rounds: int, common: Sequence[str] = ()) -> Recipe:
        """The recipe for the world in `folder`, with the settings `common` to all conditions below its own.

        Each condition and seed has a champion, so a name, of its own.
        """
        own = (f"name=world-{self.name}-{seed}", f"seed={seed}", f"rounds={rounds}")
        return load_recipe("world", [*overrides(folder), *common, *own, *self.settings])


METHOD = Condition("method", "the method")
SHUFFLED = Condition("shuffled", "scores dealt out at random", ("pairs.shuffle_scores=true",))
TOO_HARD = Condition(
    "too-hard",
    "DPO too hard",
    ("dpo.learning_rate=1.0e-3", "dpo.min_learning_rate=1.0e-3", "dpo.max_steps=100"),
)
CONDITIONS = (METHOD, SHUFFLED, TOO_HARD)
