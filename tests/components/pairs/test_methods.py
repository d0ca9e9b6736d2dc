"""Pairs of the methods that came after the paper's, by hand; each with what the paper's pair would have been."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from components.core.records import Candidate, Counts, Example, Judgement, Pair, Question
from components.core.settings import Settings
from components.core.stage import Stage, read_records
from components.judging.settings import JudgingSettings
from components.pairs import selection
from components.pairs.pairs import make_pairs
from components.pairs.scores import Score, checked_scores, consistency, count_votes
from components.pairs.settings import CheckedAnswersSettings, PairsSettings
from tests.components.pairs.test_pairs import candidates, judged, scores, stage


def votes(one: Candidate, *values: float | None) -> list[Judgement]:
    return [judged(one, value).model_copy(update={"id": f"{one.id}/{k}"}) for k, value in enumerate(values)]


def test_the_majority_of_the_judgements_is_not_their_mean() -> None:
    """4, 4, 0: mean 8/3, majority 4. 3, 3, 3: both 3. So the majority prefers the first, the mean the second."""
    first, second = candidates("a", "b")
    judgements = [*votes(first, 4, 4, 0), *votes(second, 3, 3, 3)]
    assert count_votes(judgements) == {first.id: Score(8 / 3, 3), second.id: Score(3, 3)}
    assert count_votes(judgements, by_majority=True) == {first.id: Score(4, 3), second.id: Score(3, 3)}


@pytest.mark.parametrize(
    ("given", "score"),
    [((5, 2, 5, 2, 1), 3.5), ((1, 2, 3), 2.0), ((4,), 4.0), ((None, 1, 1, 5), 1.0)],
)
def test_scores_that_as_many_judgements_give_share_the_majority(given: tuple[float | None, ...], score: float) -> None:
    [one] = candidates("a")
    assert count_votes(votes(one, *given), by_majority=True)[one.id].value == score


def test_without_a_parsed_judgement_there_is_no_majority() -> None:
    [one] = candidates("a")
    assert count_votes(votes(one, None, None), by_majority=True) == {}


def question(prompt: str, answer: str) -> Question:
    return Question(id=prompt, text=f"question {prompt}", answer=answer)


def test_an_answer_that_can_be_checked_is_scored_by_truth() -> None:
    """15 is right, as "15.0" is; words have no value; of the prompt that is no question nothing is said."""
    group = candidates("12", "15", "15.0", "fifteen") + candidates("15", "7", prompt="other")
    found = checked_scores(group, [question("p", "15")], "", (1, 10))
    assert found == {"p/0": Score(1, 0), "p/1": Score(10, 0), "p/2": Score(10, 0), "p/3": Score(1, 0)}
    reasoned = candidates("3 and 12 make #### 15", "15 it is not: #### 12", "15")
    by_pattern = checked_scores(reasoned, [question("p", "15")], r"####\s*(?P<answer>\S+)", (0, 5))
    assert [score.value for score in by_pattern.values()] == [5, 0, 0]


def test_a_later_turn_is_no_question_of_the_file() -> None:
    later = [one.model_copy(update={"history": [{"role": "system", "content": "s"}]}) for one in candidates("15")]
    assert checked_scores(later, [question("p", "15")], "", (0, 5)) == {}


def test_two_judges_that_rank_alike_are_consistent() -> None:
    """Three prompts of three answers: the same order (tau 1), one of three pairs turned round (1/3), reversed (-1); and
    one on which the earlier judge ties. (1 + 2/3 + 0) / 3 = 5/9."""
    group = [one for n in range(4) for one in candidates("a", "b", "c", prompt=f"p{n}")]
    now = {id: score for n in range(4) for id, score in scores(1, 2, 3, prompt=f"p{n}").items()}
    earlier = scores(0, 4, 5, prompt="p0") | scores(2, 1, 3, prompt="p1") | scores(3, 2, 1, prompt="p2")
    earlier |= scores(2, 2, 2, prompt="p3")
    found, missing = consistency(group, now, earlier)
    assert found == pytest.approx(5 / 9)
    assert missing == Counter({"consistency: prompt without two rankings": 1})


def test_what_one_of_the_judges_has_not_scored_is_in_no_ranking() -> None:
    """Of three answers one has no earlier score; the others are ranked the same way."""
    group = candidates("a", "b", "c")
    assert consistency(group, scores(1, 2, 3), scores(5, None, 6)) == (1.0, Counter())
    assert consistency(group, scores(1, 2, 3), {})[0] is None


def select_pairs(*given: Any) -> tuple[list[Pair], Counter[str]]:
    pairs, dropped = selection.select_pairs(*given)
    return list(pairs.values()), dropped


def test_temporal_pairs_reject_what_the_first_model_wrote() -> None:
    """Mt: 5 and 2; M1: 1 and 4, so its 1 is rejected. The paper would have rejected Mt's 2."""
    ours, theirs = candidates("best", "poor"), candidates("bad", "fair")
    first = [one.model_copy(update={"id": f"first/{one.id}"}) for one in theirs]
    known = scores(5, 2) | {f"first/{id}": score for id, score in scores(1, 4).items()}
    [pair], dropped = select_pairs(ours, known, PairsSettings(rejected_from="first"), first)
    assert (pair.chosen, pair.rejected, pair.chosen_score, pair.rejected_score) == ("best", "bad", 5, 1)
    assert pair.rejected_id == "first/p/0"
    assert not dropped
    [usual], _ = select_pairs(ours, known, PairsSettings())
    assert (usual.chosen, usual.rejected) == ("best", "poor")


def test_with_one_answer_each_there_is_a_temporal_pair_and_no_other() -> None:
    ours, theirs = candidates("good"), candidates("bad", "good")
    first = [one.model_copy(update={"id": f"first/{one.id}"}) for one in theirs]
    pairs, _ = select_pairs(ours, scores(4) | {"first/p/0": Score(2, 3)}, PairsSettings(), first)
    assert [(pair.chosen, pair.rejected) for pair in pairs] == [("good", "bad")]


@pytest.mark.parametrize(
    ("theirs", "reason"),
    [
        ((5, 5), "prompt: no answer is better than the first model's worst"),
        ((4, 5), "prompt: tie"),
        ((None, None), "prompt: fewer than two scored candidates"),
    ],
)
def test_why_there_is_no_temporal_pair(theirs: tuple[float | None, ...], reason: str) -> None:
    first = [one.model_copy(update={"id": f"first/{one.id}"}) for one in candidates("c", "d")]
    known = scores(4, 3) | {f"first/{id}": score for id, score in scores(*theirs).items()}
    pairs, dropped = select_pairs(candidates("a", "b"), known, PairsSettings(), first)
    assert not pairs
    assert dropped[reason] == 1


def test_length_control_looks_at_both_models_answers() -> None:
    """rho 0.1 on 0 to 5: chosen the shortest with 4.5 or more of Mt, rejected the longest with 0.5 or less of M1."""
    ours, theirs = candidates("long " * 9, "short", "x"), candidates("y", "wordy " * 9, "z")
    first = [one.model_copy(update={"id": f"first/{one.id}"}) for one in theirs]
    known = scores(5, 4.5, 0) | {f"first/{id}": score for id, score in scores(0, 0.5, 4).items()}
    [pair], _ = select_pairs(ours, known, PairsSettings(length_control=(0.1,)), first)
    assert (pair.chosen, pair.rejected) == ("short", "wordy " * 9)


def example(id: str, completion: str) -> Example:
    return Example(id=id, kind="ift", prompt=f"question {id}", completion=completion)


def test_spin_chooses_the_human_answer_whatever_it_is_worth() -> None:
    examples = [example("p", "people say this"), example("q", "the  same"), example("r", "and this")]
    answers = [*candidates("the model says that"), *candidates("the same", prompt="q")]
    answers += candidates("cut", prompt="r", cut=(0,))
    pairs, dropped = selection.human_pairs(examples, answers)
    [pair] = pairs.values()
    assert (pair.chosen, pair.rejected, pair.chosen_score) == ("people say this", "the model says that", None)
    assert dropped == Counter({"prompt: equal texts": 1, "candidate: cut off, empty or unanswered": 1})


def judging_stage(root: Path, judgements: list[Judgement], name: str = "") -> str:
    made = Stage(str(root), "judging", JudgingSettings(prompt="{instruction} {response}" + name), {})
    made.publish(Counts(), {"judgements": judgements})
    return made.uri


def pairs_of(root: Path, settings: PairsSettings, sampled: str, scored: str, **besides: str) -> list[Pair]:
    manifest = make_pairs(str(root), settings, sampled, scored, besides)
    return read_records(f"{root}/pairs/{manifest.key}", "pairs", Pair)


def test_checked_prompts_are_paired_by_truth_and_the_others_by_the_judge(tmp_path: Path) -> None:
    """The judge likes 12 on both prompts; on the one that can be checked 15 is right."""
    group = candidates("12", "15") + candidates("12", "15", prompt="other")
    sampled = stage(tmp_path, "sampling", candidates=group)
    scored = judging_stage(tmp_path, [judged(one, 4.0 if one.text == "12" else 1.0) for one in group])
    asked = Stage(str(tmp_path), "questions", Settings(), {})
    asked.publish(Counts(), {"questions": [question("p", "15")]})
    settings = PairsSettings(exact_answers=CheckedAnswersSettings(questions="somewhere"))
    made = pairs_of(tmp_path, settings, sampled, scored, questions=asked.uri)
    assert {pair.id: (pair.chosen, pair.chosen_score) for pair in made} == {"p": ("15", 5), "other": ("12", 4)}
    usual = pairs_of(tmp_path, PairsSettings(), sampled, scored)
    assert {pair.id: pair.chosen for pair in usual} == {"p": "12", "other": "12"}


def test_cream_doubts_its_pairs_by_how_much_two_judges_differ(tmp_path: Path) -> None:
    """One prompt ranked alike (1), one reversed (0): consistency 1/2, and DPO takes each pair half the other way."""
    group = candidates("a", "b") + candidates("a", "b", prompt="q")
    sampled = stage(tmp_path, "sampling", candidates=group)
    scored = judging_stage(tmp_path, [judged(one, float(one.text == "a")) for one in group])
    earlier = [judged(one, float((one.text == "a") == (one.prompt_id == "p"))) for one in group]
    before = judging_stage(tmp_path, earlier, "before")
    made = pairs_of(tmp_path, PairsSettings(consistency=True), sampled, scored, previous_judgements=before)
    assert [(pair.chosen, pair.doubt) for pair in made] == [("a", 0.5), ("a", 0.5)]
    assert [pair.doubt for pair in pairs_of(tmp_path, PairsSettings(), sampled, scored)] == [None, None]


def test_pairs_that_nobody_scored_have_no_gap(tmp_path: Path) -> None:
    seeds = Stage(str(tmp_path), "seed_data", Settings(), {})
    seeds.publish(Counts(), {"ift": [example("p", "people say this")]})
    answered = stage(tmp_path, "sampling", candidates=candidates("the model says that"))
    scored = judging_stage(tmp_path, [])
    besides = {"human": seeds.uri, "human_answers": answered}
    made = make_pairs(str(tmp_path), PairsSettings(human_rounds=1), answered, scored, besides)
    assert made.counts.kept == {"pairs": 1}
    assert made.metrics == {"chosen_length": 15, "rejected_length": 19}


def test_a_round_has_only_what_concerns_it() -> None:
    """So that the first rounds of several methods are found again as one."""
    every = PairsSettings(rejected_from="first", consistency=True, length_control=(0, 0.1))
    assert every.of_round(1) == PairsSettings()
    assert every.of_round(2) == PairsSettings(rejected_from="first", consistency=True, length_control=(0.1,))
    warm = PairsSettings(human_rounds=1, score="majority")
    assert warm.of_round(1) == PairsSettings(human_rounds=1)
    assert warm.of_round(2) == PairsSettings(score="majority")


def test_what_is_not_switched_on_is_in_no_key() -> None:
    assert set(PairsSettings().identity()) == {"length_control", "min_gap", "min_pairs", "shuffle_scores", "seed"}
    checked = PairsSettings(exact_answers=CheckedAnswersSettings(questions="here"))
    assert (
        checked.identity() == PairsSettings(exact_answers=CheckedAnswersSettings(questions="elsewhere")).identity()
    ), "the file counts by its content"
