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


def test_small_rounds_answer_as_many_prompts_as_the_plain_loop(tmp_path: Path) -> None:
    """Three rounds of 150 prompts are six of 75; any other method's prompts are the plain loop's."""
    rounds: dict[str, list[int]] = {}
    for method in METHODS:
        recipe = method.recipe(PERFECT, tmp_path, seed=1, rounds=3, common=SETTINGS)
        rounds[method.name] = [recipe.prompts.count] * recipe.rounds
    small = rounds.pop("small-rounds")
    assert [list(one) for one in {tuple(one) for one in rounds.values()}] == [rounds["plain"]]
    assert len(small) == 2 * len(rounds["plain"])
    assert sum(small) == sum(rounds["plain"])
