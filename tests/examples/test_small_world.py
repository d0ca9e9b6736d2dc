"""The fixture of the slow tests: its recipe, its instructions, and an annotator that knows the truth."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from components.core.records import Instruction
from components.core.stage import read_records
from components.core.store import join
from components.evaluation.alpaca_eval.head_to_head import comparison_prompt, parse_verdict
from components.evaluation.alpaca_eval.instructions import import_instructions
from components.evaluation.alpaca_eval.preferences import annotator_prompt
from examples.world.truth import true_score
from pipelines.recipe import Recipe, load_recipe
from tests.helpers.small_world import SEED, SIZES, verdict, write_small_world


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    return load_recipe(str(write_small_world(tmp_path_factory.mktemp("world"))))


@pytest.mark.parametrize(
    ("first", "second", "word", "probability"),
    [
        ("81406", "81407", "A", 0.0),  # five points against four
        ("81400", "81406", "B", 1.0),
        ("81400", "81407", "tie", 0.5),
        ("=81406", "81406", "tie", 0.5),  # longer, and no worse
        ("", "81407", "B", 1.0),
    ],
)
def test_the_annotator_prefers_what_is_true(first: str, second: str, word: str, probability: float) -> None:
    """Asked in both of the product's forms; the second output's probability is what AlpacaEval makes of logprobs."""
    _, told = verdict(comparison_prompt("i 70395", first, second))
    text = told["choices"][0]["message"]["content"]
    assert parse_verdict(text) == {"A": "first", "B": "second", "tie": "tie"}[word]
    _, told = verdict(annotator_prompt("i 70395", first, second))
    likeliest = told["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
    odds = {one["token"]: 2.718281828 ** one["logprob"] for one in likeliest}
    assert odds["M"] / (odds["m"] + odds["M"]) == pytest.approx(probability, abs=1e-6)


def test_half_of_the_reference_outputs_are_right(recipe: Recipe, tmp_path: Path) -> None:
    """The others have the slip, four points; lengths and rightness do not hang together: 20 of each of the six."""
    assert recipe.instructions
    root = str(tmp_path / "store")
    manifest = import_instructions(root, recipe.instructions)
    asked = read_records(join(root, manifest.stage, manifest.key), "instructions", Instruction)
    kinds = [(true_score(one.text, one.reference.lstrip("=")), len(one.reference)) for one in asked]
    assert {kind: kinds.count(kind) for kind in kinds} == {
        (score, length): SIZES.questions // 6 for score in (4, 5) for length in (5, 6, 7)
    }


def test_the_recipe_is_the_shipped_one_but_for_sizes(recipe: Recipe) -> None:
    """Judge prompt, gate, candidates and judgements of a candidate are those of the recipe that the proof runs."""
    shipped = load_recipe("world", [f"seed={SEED}"])
    assert recipe.judging.judge_prompt() == shipped.judging.judge_prompt()
    assert recipe.gate == shipped.gate
    assert (recipe.sampling.candidates, recipe.judging.samples) == (4, 3)
    pool = Path(str(recipe.prompts.file)).read_text().splitlines()
    assert len({json.loads(line)["prompt"] for line in pool}) == recipe.rounds * recipe.prompts.count
