"""Pairs of judgements by hand: whose judgements are compared, which of them are paired, and how many."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from components.core.records import Judgement, Pair
from components.core.stage import read_records
from components.pairs.meta_judge import JudgedAnswer, compare_judgements, judgement_pairs, most_disputed
from components.pairs.pairs import make_pairs
from components.pairs.settings import MetaJudgeSettings, PairsSettings
from tests.components.pairs.test_comparing import orders
from tests.components.pairs.test_methods import judging_stage, votes
from tests.components.pairs.test_pairs import candidates, stage
from tests.helpers.scripted_endpoint import Script, said, served


def said_of(candidate: int, *scores: float | None, prompt: str = "p") -> list[Judgement]:
    """Judgements of one of a prompt's answers, each with words of its own."""
    one = candidates(*"abcd", prompt=prompt)[candidate]
    return [
        judgement.model_copy(update={"completion": f"reason {k} Score: {judgement.score}"})
        for k, judgement in enumerate(votes(one, *scores))
    ]


def test_the_answer_whose_scores_vary_most_is_looked_at() -> None:
    """Variances of 1, 3 and of 2, 4, 5 are 1 and 14/9; the other prompt's 0, 5 have 6.25 and come first."""
    judgements = [*said_of(0, 1, 3), *said_of(1, 2, 4, 5), *said_of(0, 0, 5, prompt="q")]
    first, second = most_disputed(judgements, lambda id: f"judge {id}", 0)
    assert (first.id, first.variance) == ("q/0", 6.25)
    assert (second.id, second.asked, second.variance) == ("p/1", "judge p/1", pytest.approx(14 / 9))
    assert list(second.judgements) == ["p/1/0", "p/1/1", "p/1/2"]


def test_what_has_no_score_or_says_the_same_is_not_compared() -> None:
    """Of p/0 one judgement has a score; those of p/1 are word for word the same. Two of three of p/2 differ."""
    same = [one.model_copy(update={"completion": "Score: 3"}) for one in said_of(1, 3, 3)]
    third = said_of(2, 3, 3, 3)
    third[1] = third[1].model_copy(update={"completion": third[0].completion})
    assert most_disputed([*said_of(0, 1, None), *same], str, 0) == []
    [judged] = most_disputed([*said_of(0, 1, None), *same, *third], str, 0)
    assert judged.judgements == {"p/2/0": third[0].completion, "p/2/2": third[2].completion}


def judged(number: int, *texts: str) -> JudgedAnswer:
    return JudgedAnswer(f"p{number}/0", f"judge this {number}", {f"p{number}/0/{k}": t for k, t in enumerate(texts)}, 1)


def test_the_judgement_that_wins_most_is_chosen() -> None:
    """Of three the second wins twice, the first once: 2, 0, -2."""
    one = judged(0, "fair", "good", "bad")
    a, b, c = one.judgements
    made = orders(a, b, "second", "first") + orders(a, c, "first", "second") + orders(b, c, "first", "second")
    [pair], dropped = judgement_pairs([one], made, MetaJudgeSettings(), 100)
    assert (pair.id, pair.prompt, pair.chosen, pair.rejected) == ("judgement/p0/0", "judge this 0", "good", "bad")
    assert (pair.chosen_id, pair.rejected_id, pair.chosen_score) == (b, c, None)
    assert not dropped


def test_why_judgements_are_not_paired() -> None:
    """The first is undecided, of the second nothing is known, the third's winner is one character too long."""
    three = [judged(0, "x", "y"), judged(1, "x", "y"), judged(2, "12345", "1")]
    made = orders("p0/0/0", "p0/0/1", "first", "first") + orders("p1/0/0", "p1/0/1", None, "first")
    made += orders("p2/0/0", "p2/0/1", "first", "second")
    pairs, dropped = judgement_pairs(three, made, MetaJudgeSettings(max_characters=4), 100)
    assert not pairs
    assert dropped == Counter({"judgements: none is preferred": 2, "judgements: the preferred one is too long": 1})
    assert len(judgement_pairs(three, made, MetaJudgeSettings(max_characters=5), 100)[0]) == 1


@pytest.mark.parametrize(("of_answers", "kept"), [(5, 0), (6, 1), (17, 3), (34, 6), (100, 10)])
def test_they_are_at_most_their_share(of_answers: int, kept: int) -> None:
    """15 % of all: beside 17 pairs of answers 3 of judgements (3 of 20), beside 5 none (1 of 6 is more)."""
    ten = [judged(n, "good", "bad") for n in range(10)]
    made = [one for n in range(10) for one in orders(f"p{n}/0/0", f"p{n}/0/1", "first", "second")]
    pairs, dropped = judgement_pairs(ten, made, MetaJudgeSettings(share=0.15), of_answers)
    assert [pair.id for pair in pairs] == [f"judgement/p{n}/0" for n in range(kept)], "the most disputed first"
    assert dropped["judgements: more than their share of the pairs"] == 10 - kept


def prefers_low(number: int, body: dict[str, object]) -> tuple[int, dict[str, object]]:
    """A meta-judge that prefers the judgement with the lower score."""
    text = str(body["messages"][-1]["content"])  # type: ignore[index]
    first, second = (float(text.partition(f"<judgement_{name}>\n")[2].split("\n")[0].split()[-1]) for name in "ab")
    return said(f"The lower one.\nVerdict: {'A' if first < second else 'B'}")


def test_a_meta_judge_adds_pairs_of_judging_to_those_of_answers(tmp_path: Path) -> None:
    """Eight prompts, two answers each, scored 4, 5 and 0, 3: the second ones are the disputed ones, and the
    meta-judge's 0 is chosen. 8 pairs of answers leave room for one of judgements (1 of 9 is 11 %, 2 of 10 are 20 %).
    Without the switch there are those of answers alone."""
    root, prompts = str(tmp_path), [f"p{n}" for n in range(8)]
    sampled = stage(tmp_path, "sampling", candidates=[one for p in prompts for one in candidates("a", "b", prompt=p)])
    scored = judging_stage(
        tmp_path, [j for p in prompts for j in (*said_of(0, 4, 5, prompt=p), *said_of(1, 0, 3, prompt=p))]
    )
    settings, script = MetaJudgeSettings(seed=5), Script(prefers_low)  # type: ignore[arg-type]
    with served(script) as url:
        made = compare_judgements(root, settings, sampled, sampled, scored, f"{url}/model")
        assert made.counts.kept == {"comparisons": 8} and len(script.bodies) == 16
        other = settings.model_copy(update={"share": 0.5, "rounds": 7})
        assert compare_judgements(root, other, sampled, sampled, scored, url).key == made.key, "they ask nothing else"
    given = {"meta_judgements": f"{root}/meta_judging/{made.key}"}
    with_them = make_pairs(root, PairsSettings(meta_judge=settings), sampled, scored, given)
    pairs = read_records(f"{root}/pairs/{with_them.key}", "pairs", Pair)
    assert with_them.counts.kept == {"pairs": 8, "pairs of judgements": 1}
    assert with_them.counts.dropped["judgements: more than their share of the pairs"] == 7
    of_judging = pairs[-1]
    assert (of_judging.chosen, of_judging.rejected) == ("reason 0 Score: 0.0", "reason 1 Score: 3.0")
    prompt = of_judging.id.removeprefix("judgement/").partition("/")[0]
    assert of_judging.prompt == f"question {prompt} b", "what the judge was asked, by the prompt of its stage"
    usual = make_pairs(root, PairsSettings(), sampled, scored)
    assert read_records(f"{root}/pairs/{usual.key}", "pairs", Pair) == pairs[:8]
    assert usual.metrics == with_them.metrics, "figures are of answers"


def test_it_ends_after_its_rounds() -> None:
    settings = PairsSettings(meta_judge=MetaJudgeSettings(rounds=2))
    assert settings.of_round(1).meta_judge and settings.of_round(2).meta_judge
    assert settings.of_round(3) == PairsSettings()
    more = PairsSettings(meta_judge=MetaJudgeSettings(rounds=3))
    assert more.of_round(1).identity() == settings.of_round(1).identity()
