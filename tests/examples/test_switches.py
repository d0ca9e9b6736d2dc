"""What methods change in a recipe, those without results of the worlds, too."""

from __future__ import annotations

from pathlib import Path

import pytest

from examples.world.judges import PERFECT
from examples.world.methods.compare import SETTINGS
from examples.world.methods.switches import METHODS, UNTRIED, Method
from pipelines.recipe import load_recipe


@pytest.mark.parametrize("method", UNTRIED, ids=lambda method: method.name)
def test_an_untried_method_changes_a_recipe(method: Method) -> None:
    assert method.name not in {one.name for one in METHODS}
    assert load_recipe("llama3-8b", method.settings) != load_recipe("llama3-8b")
    assert method.paper and method.calls


def test_small_rounds_answer_and_train_as_much_as_the_plain_loop(tmp_path: Path) -> None:
    """Three rounds of 150 prompts and 30 steps are six of 75 and 15; all other methods' are the plain loop's."""
    rounds: dict[str, tuple[int, int | None, int]] = {}
    for method in METHODS:
        recipe = method.recipe(PERFECT, tmp_path, seed=1, rounds=3, common=SETTINGS)
        rounds[method.name] = (recipe.prompts.count, recipe.dpo.max_steps, recipe.rounds)
    assert rounds.pop("small-rounds") == (75, 15, 6)
    assert set(rounds.values()) == {(150, 30, 3)}
