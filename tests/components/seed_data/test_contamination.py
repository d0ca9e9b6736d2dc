"""What is too close to an evaluation text, in which set, and what becomes of it in the splits."""

from __future__ import annotations

import pytest

from components.core.records import Reply, SeedPrompt
from components.seed_data.contamination import EvaluationTexts
from components.seed_data.settings import SeedDataSettings
from components.seed_data.splits import split


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("What are the names of some famous actors on Broadway", "AlpacaEval"),
        ("what are the NAMES of some   famous actors, on Broadway?", "AlpacaEval"),  # F = 1
        ("Please: what are the names of some famous actors on Broadway?", "AlpacaEval"),  # 20 / 21
        ("What are the names of three rivers in France", None),  # LCS 5, F = 10/19
        ("水を飲む理由を教えてください。", "MT-Bench"),
        ("Tell me something about trees", None),
    ],
)
def test_the_same_or_nearly_the_same_text_is_found_with_its_set(text: str, found: str | None) -> None:
    evaluation = EvaluationTexts(0.7)
    evaluation.add("AlpacaEval", "What are the names of some famous actors on Broadway")
    evaluation.add("MT-Bench", "水を飲む理由を教えて下さい。")
    assert evaluation.too_close(text) == found


def test_every_turn_of_a_user_is_compared() -> None:
    """What an assistant says is not."""
    texts = EvaluationTexts()
    texts.add("a set", "Name a river.")
    asked = [{"role": "user", "content": "name a river."}, {"role": "assistant", "content": "The Po."}]
    assert texts.too_close("Another one?", asked) == "a set"
    said = [{"role": "user", "content": "Name a lake."}, {"role": "assistant", "content": "Name a river."}]
    assert texts.too_close("Another one?", said) is None


def test_without_a_threshold_only_sameness_counts() -> None:
    evaluation = EvaluationTexts()
    evaluation.add("set", "Name ４ rivers")
    assert evaluation.too_close("name 4  RIVERS") == "set"
    assert evaluation.too_close("Name 4 rivers, please") is None


def prompt(id: str, text: str) -> SeedPrompt:
    replies = [Reply(id=f"{id}-{rank}", text=f"text {rank}", rank=rank) for rank in (0, 1)]
    return SeedPrompt(id=id, text=text, replies=replies)


@pytest.mark.parametrize("eft", [2, None])
def test_no_training_set_holds_a_text_too_close_to_an_evaluation_text_or_to_a_held_out_prompt(eft: int | None) -> None:
    """24 prompts: three repeat AlpacaEval; of each of the two that are held out there is a near copy.

    Which two are held out is a property of their ids alone, so a first split says which ones to copy.
    """
    settings = SeedDataSettings(messages="-", ift=4, eft_prompts=eft, eval_prompts=2, validation_prompts=2)
    own = [prompt(f"p{n}", " ".join(f"word{n}{letter}" for letter in "abcdef")) for n in range(19)]
    copies = [prompt(f"copy{n}", "-") for n in range(5)]
    held_out = split([*own, *copies], settings).eval
    copied = [one.model_copy(update={"text": f"{own[n].text} please"}) for n, one in enumerate(copies)]
    near = [one for one in held_out if one.id.startswith("p")]
    for n, one in enumerate(near):
        copied[n] = copied[n].model_copy(update={"text": f"{one.text} please"})
    evaluation = EvaluationTexts(0.7)
    evaluation.add("AlpacaEval", own[0].text)
    prompts = [one for one in [*own, *copied[: len(near)]] if one.id != "p0"] + [prompt("p0", own[0].text.upper())]
    splits = split(prompts, settings, evaluation)
    trained = [one.prompt for one in splits.ift] + [one.text for one in [*splits.eft, *splits.validation]]
    assert trained
    assert not [text for text in trained if "please" in text or text == own[0].text.upper()]
    assert [one.id for one in splits.eval] == [one.id for one in held_out]
    assert splits.dropped["prompt: too close to held-out prompts"] == len(near)
    contaminated = own[0].id not in {one.id for one in held_out}
    assert splits.dropped["prompt: too close to AlpacaEval"] == contaminated
    kept = 2 * len(splits.ift) + sum(3 for _ in [*splits.eft, *splits.eval]) + len(splits.validation)
    assert kept + splits.dropped.total() == 3 * len(prompts)
