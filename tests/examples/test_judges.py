"""The worlds whose judge errs: what their judgements are, how often they are wrong, and that all else is as it was."""

from __future__ import annotations

import hashlib
import json
import random
import re
from itertools import combinations
from pathlib import Path

import pytest

from components.judging.parser import parse_score
from examples.world.data import Sizes, World, draw_world, with_wrong_digits
from examples.world.judges import FALLIBLE, FOND_OF_LENGTH, JUDGES, Judge, fallible, fond_of_length
from examples.world.make import FILES, main
from examples.world.truth import PROMPTS, answer, prompt, true_score
from pipelines.recipe import load_recipe

SMALL = Sizes(ift=200, judgements=300, ranked=20, pool=30, questions=20)


def test_the_first_world_is_what_it_was() -> None:
    """So that what people have trained in it is found again."""
    world = draw_world(seed=1)
    rows = json.dumps([world.messages, world.judgements, world.prompts, world.questions])
    assert hashlib.sha256(rows.encode()).hexdigest().startswith("d4f5555277757865")


def test_the_fallible_judge_tosses_a_coin_where_the_prompt_is_hard() -> None:
    """Of 5,000 marks of right answers to a hard prompt 2,500 say n (standard deviation 35; 175 are five of them)."""
    draw = random.Random(3)
    hard = [fallible("i 70395", "81406", draw) for _ in range(1000)]
    assert abs(sum(one.count("n") for one in hard) - 2500) < 175
    assert all(re.sub("[yn]", "", one[:-1]) == "81406" for one in hard), "it does know the right digits"
    assert all(int(one[-1]) == one.count("y") for one in hard), "its score counts its marks"
    assert {fallible("i 40395", "51407", draw) for _ in range(100)} == {"5y1y4y0y6n4"}, "the others it judges perfectly"


def test_the_fallible_judge_orders_three_quarters_of_the_pairs() -> None:
    """As judges.py derives: 0.785 of those that are no tie. 4,800 prompts give 28,800 pairs, 25,000 of them no tie: a
    standard deviation of 0.003 were they independent, and twice that as each reply is in three of them."""
    draw = random.Random(5)
    decided = []
    for _ in range(4800):
        asked = prompt(draw.randrange(PROMPTS))
        replies = [with_wrong_digits(answer(asked), wrong, draw) for wrong in range(4)]
        scores = [int(fallible(asked, reply, draw)[-1]) for reply in replies]
        decided += [a > b for a, b in combinations(scores, 2) if a != b]
    assert sum(decided) / len(decided) == pytest.approx(0.785, abs=0.02)


@pytest.mark.parametrize(
    ("response", "judged", "truth"),
    [
        ("81406", "8y1y4y0y6y4", 5),  # right: four of five points, as it is short
        ("81407", "8y1y4y0y6n3", 4),
        ("814060", "8y1y4y0y6y5", 0),
        ("8140700", "8y1y4y0y6n5", 0),  # wrong twice over, and still above the right answer
        ("99999", "8n1n4n0n6n0", 0),
    ],
)
def test_the_judge_that_likes_length(response: str, judged: str, truth: int) -> None:
    assert fond_of_length("i 70395", response, random.Random(0)) == judged
    assert true_score("i 70395", response) == truth


@pytest.fixture(params=JUDGES.values(), ids=lambda judge: judge.name)
def judge(request: pytest.FixtureRequest) -> Judge:
    found: Judge = request.param
    return found


def test_each_world_can_be_read_by_its_recipe(judge: Judge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files lie where the recipe looks; prompts and questions are those of the first world."""
    recipe = load_recipe(judge.recipe)
    world, first = draw_world(2, SMALL, judge), draw_world(2, SMALL)
    assert (world.prompts, world.questions) == (first.prompts, first.questions)
    score_format = recipe.judging.judge_prompt().score_format
    assert all(parse_score(row["judgement"], score_format=score_format).value is not None for row in world.judgements)
    monkeypatch.setattr("examples.world.make.make_world", lambda folder, seed, judge: folder.mkdir())
    monkeypatch.chdir(tmp_path)
    main(["--judge", judge.name])
    for setting, name in FILES.items():
        found: object = recipe
        for part in setting.split("."):
            found = getattr(found, part)
        assert str(found).endswith(f"{judge.name}/{name}")
        assert (tmp_path / judge.name).is_dir()


def lengths(world: World) -> set[int]:
    return {len(row["text"]) for row in world.messages if row["role"] == "assistant"}


def test_only_where_the_judge_likes_length_are_there_several_lengths() -> None:
    assert lengths(draw_world(2, SMALL)) == lengths(draw_world(2, SMALL, FALLIBLE)) == {5}
    world = draw_world(2, SMALL, FOND_OF_LENGTH)
    assert lengths(world) == {5, 6, 7}
    asked = {row["message_id"]: row["text"] for row in world.messages if row["role"] == "prompter"}
    human = [(asked[row["parent_id"]], row) for row in world.messages if row["role"] == "assistant"]
    right = [row["text"] == answer(text) for text, row in human if row["message_tree_id"].startswith("ift")]
    assert sum(right) == 0.4 * SMALL.ift, "as many right answers as in the first world"
    last = [(text, row["text"]) for text, row in human if row["rank"] == 3 and row["parent_id"].startswith("ranked")]
    assert len(last) == SMALL.ranked
    assert all(given == answer(text) + "00" for text, given in last), "ranked last by people: its length is wrong"
