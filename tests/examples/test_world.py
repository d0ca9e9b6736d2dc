"""The small world: its truth, its data as the product's own loaders see them, its model."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.base_model.base_model import import_model, load_tokenizer
from components.base_model.settings import BaseModelSettings
from components.core.records import Example, Manifest, Prompt, Question, SeedPrompt
from components.core.stage import read_records
from components.core.store import join
from components.core.texts import normalised
from components.eft.eft import make_eft
from components.evaluation.exact_answers.questions import import_questions
from components.prompts.file import take_prompts
from components.seed_data.seed_data import make_seed_data
from components.serving.embedded.model.loading import load
from examples.world.data import Sizes, World, draw_world, slip, with_wrong_digits
from examples.world.make import FILES, make_world, overrides
from examples.world.truth import PROMPTS, answer, judgement, prompt, true_score
from pipelines.recipe import Recipe, load_recipe


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("world")
    make_world(path, seed=1)
    return path


@pytest.fixture(scope="module")
def world() -> World:
    return draw_world(seed=1)


@pytest.fixture
def recipe(folder: Path) -> Recipe:
    return load_recipe("world", overrides(folder))


@pytest.fixture
def root(tmp_path: Path) -> str:
    return str(tmp_path / "store")


def uri(root: str, manifest: Manifest) -> str:
    return join(root, manifest.stage, manifest.key)


@pytest.mark.parametrize(
    ("asked", "right"),
    [("c 70395", "70395"), ("r 70395", "59307"), ("i 70395", "81406"), ("i 99999", "00000"), ("r 00012", "21000")],
)
def test_the_right_answer(asked: str, right: str) -> None:
    assert answer(asked) == right


def test_a_judgement_shows_its_working_before_its_score() -> None:
    """81406 is right; 81407 differs in the last place: four points."""
    assert judgement("i 70395", "81407") == "8y1y4y0y6n4"


@pytest.mark.parametrize("response", ["", "8140", "814066", "81406 "])
def test_an_answer_of_another_length_scores_nothing(response: str) -> None:
    assert true_score("i 70395", response) == 0


@given(st.integers(0, PROMPTS - 1), st.integers(0, 5), st.integers())
def test_each_wrong_digit_costs_a_point(number: int, wrong: int, seed: int) -> None:
    asked = prompt(number)
    response = with_wrong_digits(answer(asked), wrong, random.Random(seed))
    assert true_score(asked, response) == 5 - wrong
    assert judgement(asked, response).count("n") == wrong
    assert judgement(asked, response)[-1] == str(5 - wrong)


def test_a_slip_is_the_last_digit_one_too_high() -> None:
    assert (slip("81406"), slip("81409")) == ("81407", "81400")


def test_prompts_are_numbered_without_gap_or_repetition() -> None:
    assert len({prompt(number) for number in range(PROMPTS)}) == PROMPTS == 300_000


def test_no_prompt_is_in_two_sets(world: World) -> None:
    """4,000 + 12,000 + 151 + 1,200 + 600 prompts, as the product compares them, and all different."""
    messages = [row["text"] for row in world.messages if row["role"] == "prompter"]
    judged = [row["instruction"] for row in world.judgements]
    asked = [row["prompt"] for row in [*world.prompts, *world.questions]]
    everything = [normalised(text) for text in [*messages, *judged, *asked]]
    assert len(set(everything)) == len(everything) == 17_951


def test_the_seed_decides_everything(tmp_path: Path) -> None:
    small = Sizes(ift=50, judgements=12, ranked=2, pool=3, questions=3)
    for name, seed in (("one", 1), ("same", 1), ("other", 2)):
        make_world(tmp_path / name, seed, small)
    files = [*(name for name in FILES.values() if name.endswith(".jsonl")), "model/model.safetensors"]
    content = {name: [(tmp_path / name / file).read_bytes() for file in files] for name in ("one", "same", "other")}
    assert content["one"] == content["same"]
    assert all(one != other for one, other in zip(content["one"], content["other"], strict=True))


def test_seed_data_takes_all_of_it(recipe: Recipe, root: str) -> None:
    """4,000 IFT answers: 1,600 right, 1,680 with the slip, 720 with two wrong digits. A random pair of wrong digits may
    be no slip, which has one."""
    manifest = make_seed_data(root, recipe.data)
    assert manifest.counts.kept == {"ift": 4000, "eft": 1, "eval": 150, "eft replies": 4, "eval replies": 600}
    assert not manifest.counts.dropped
    ift = read_records(uri(root, manifest), "ift", Example)
    kinds = Counter(
        "slip" if one.completion == slip(answer(one.prompt)) else true_score(one.prompt, one.completion) for one in ift
    )
    assert kinds == {5: 1600, "slip": 1680, 3: 720}
    held_out = read_records(uri(root, manifest), "eval", SeedPrompt)
    assert {tuple(true_score(one.text, reply.text) for reply in one.replies) for one in held_out} == {(5, 4, 3, 2)}


def test_every_judgement_is_accepted(recipe: Recipe, root: str) -> None:
    """A third of them each for scores 5 and 4, a sixth for 3 and 2; the cap of 40 % a score drops none."""
    seeds = uri(root, make_seed_data(root, recipe.data))
    manifest = make_eft(root, recipe.eft, seeds, recipe.judging.judge_prompt())
    assert manifest.counts.kept == {"examples": 12_000, "prompts": 12_000}
    assert not +Counter(manifest.counts.dropped)
    shares = {name: round(share, 6) for name, share in manifest.metrics.items() if name.startswith("share_")}
    third, sixth = round(1 / 3, 6), round(1 / 6, 6)
    assert shares == {f"share_of_score_{n}": share for n, share in ((2, sixth), (3, sixth), (4, third), (5, third))}


def test_each_round_finds_prompts_of_its_own(recipe: Recipe, root: str) -> None:
    rounds: list[str] = []
    for _ in range(recipe.rounds):
        rounds.append(uri(root, take_prompts(root, recipe.prompts, list(rounds))))
    taken = [one.text for stage in rounds for one in read_records(stage, "prompts", Prompt)]
    assert len(set(taken)) == 3 * 400


def test_questions_come_with_the_right_answers(recipe: Recipe, root: str) -> None:
    assert recipe.evaluation.exact_answers
    manifest = import_questions(root, recipe.evaluation.exact_answers.only_questions())
    asked = read_records(uri(root, manifest), "questions", Question)
    assert len(asked) == 600
    assert all(one.answer == answer(one.text) for one in asked)


def test_a_character_is_a_token_and_comes_back(folder: Path, recipe: Recipe) -> None:
    """Everything that the model reads or writes: prompts, answers, filled judge prompts, judgements."""
    tokenizer = load_tokenizer(folder / "model")
    rows = [json.loads(line) for line in (folder / "judgements.jsonl").read_text().splitlines()[:200]]
    filled = [recipe.judging.judge_prompt().fill(row["instruction"], row["response"]) for row in rows]
    for text in {*filled, *(text for row in rows for text in row.values())}:
        tokens = tokenizer.encode(text, add_special_tokens=False)
        assert len(tokens) == len(text)
        assert tokenizer.unk_token_id not in tokens
        assert tokenizer.decode(tokens, skip_special_tokens=True) == text


def test_a_conversation_begins_with_its_prompt(folder: Path) -> None:
    """<user> 7 characters <assistant> 5 characters <end>: 15 tokens, the first 9 as when the model is asked."""
    tokenizer = load_tokenizer(folder / "model")
    asked = [{"role": "user", "content": "i 70395"}]
    told = [*asked, {"role": "assistant", "content": "81406"}]
    before = tokenizer.apply_chat_template(asked, add_generation_prompt=True, return_dict=True)["input_ids"]
    whole = tokenizer.apply_chat_template(told, return_dict=True)["input_ids"]
    assert (len(before), len(whole)) == (9, 15)
    assert whole[:9] == before
    assert whole[-1] == tokenizer.eos_token_id


def test_the_model_can_be_imported_and_served(folder: Path, root: str) -> None:
    """0.34 M weights: 3 layers of 4 * 96 * 96 (attention) + 3 * 96 * 256 (feed-forward), and the embeddings."""
    kept = import_model(root, BaseModelSettings(base=str(folder / "model"))).counts.kept
    assert 3 * (4 * 96 * 96 + 3 * 96 * 256) < kept["parameters"] < 340_000
    assert load(folder / "model").model.config.max_position_embeddings == 64


def test_the_recipe_names_the_files_that_are_made() -> None:
    """`python -m examples.world.make` without a folder writes to ./world, where the recipe looks."""
    recipe = load_recipe("world")
    for setting, name in FILES.items():
        found: object = recipe
        for part in setting.split("."):
            found = getattr(found, part)
        assert str(found).endswith(f"world/{name}")
