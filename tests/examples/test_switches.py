"""Methods that have no results of the worlds are settings all the same."""

from __future__ import annotations

import pytest

from examples.world.methods.switches import METHODS, UNTRIED, Method
from pipelines.recipe import load_recipe


@pytest.mark.parametrize("method", UNTRIED, ids=lambda method: method.name)
def test_an_untried_method_changes_a_recipe(method: Method) -> None:
    assert method.name not in {one.name for one in METHODS}
    assert load_recipe("llama3-8b", method.settings) != load_recipe("llama3-8b")
    assert method.paper and method.calls


def test_small_rounds_answer_as_many_prompts_as_the_plain_loop() -> None:
    """The world's three rounds of 400 prompts are six of 200."""
    [small] = [one for one in UNTRIED if one.name == "small-rounds"]
    plain, rounds = load_recipe("world"), load_recipe("world", small.settings)
    assert rounds.rounds * rounds.prompts.count == plain.rounds * plain.prompts.count
    assert rounds.rounds == 2 * plain.rounds
