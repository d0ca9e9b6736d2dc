"""A prompt is accepted where one judgement a reply can be chosen so that their scores are in the human order."""

from __future__ import annotations

from itertools import pairwise, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.core.records import Judgement, Reply, SeedPrompt
from components.eft.targets import accept, fit_to_learn
from components.judging.parser import ScoreFormat, parse_score

REASONS = "The response is relevant and covers the basics well."


def prompt(replies: int, id: str = "p") -> SeedPrompt:
    made = [Reply(id=f"{id}-{n}", text=f"text {n}", rank=n) for n in range(replies)]
    return SeedPrompt(id=id, text=f"question {id}", replies=made)


def judged(reply: str, *scores: object, finish_reason: str = "stop") -> list[Judgement]:
    """One sample a score; a score that is a text is the whole completion."""
    return [sample(reply, n, score, finish_reason) for n, score in enumerate(scores)]


def sample(reply: str, n: int, score: object, finish_reason: str = "stop") -> Judgement:
    completion = score if isinstance(score, str) else f"{REASONS} ({n})\nScore: {score}"
    parsed = parse_score(completion)
    return Judgement(
        id=f"{reply}/{n}",
        prompt_id=reply.split("-")[0],
        candidate_id=reply,
        completion=completion,
        finish_reason=finish_reason,
        score=parsed.value,
        unparsed=parsed.unparsed,
        judge_prompt="-",
        seed=0,
        tokens=1,
    )


def test_the_human_order_is_accepted():
    """4, 3 and 1 are nearest to the means of 4, 3 and 1: one target for each of the three replies."""
    accepted = accept([prompt(3)], judged("p-0", 5, 3, 4) + judged("p-1", 3, 3, 3) + judged("p-2", 0, 1, 2))
    assert [(t.id, t.score) for t in accepted.targets] == [("p-0", 4), ("p-1", 3), ("p-2", 1)]
    assert (accepted.prompts, accepted.dropped) == ({"p"}, {})
    assert accepted.targets[0].judgement == f"{REASONS} (2)\nScore: 4"
    assert (accepted.targets[0].instruction, accepted.targets[0].response) == ("question p", "text 0")


def test_the_samples_that_are_learned_are_in_order_and_not_only_their_means():
    """Means 3.67 and 3.33 fall, but the samples nearest to them, 3 and 3, tie: they would teach the opposite."""
    accepted = accept([prompt(2)], judged("p-0", 3, 3, 5) + judged("p-1", 3, 3, 4))
    assert [t.score for t in accepted.targets] == [5, 3]


def test_no_order_of_means_helps_where_no_samples_fall():
    """Means 3.33 and 3 fall; every sample of the first is at most 4, none of the second is below: (4, 3) it is.

    Without the 4 nothing is left to choose, whatever the means.
    """
    accepted = accept([prompt(2)], judged("p-0", 3, 3, 4) + judged("p-1", 3, 3, 3))
    assert [t.score for t in accepted.targets] == [4, 3]
    assert accept([prompt(2)], judged("p-0", 3, 3) + judged("p-1", 3, 3)).dropped == {"prompt: scores tie": 1}


def test_scores_that_disagree_by_their_means_are_accepted_by_samples_that_agree():
    """Tried until they agree: the first try (3, 4) does not, the second (4, 3) does."""
    accepted = accept([prompt(2)], judged("p-0", 3, 4) + judged("p-1", 4, 3))
    assert [t.score for t in accepted.targets] == [4, 3]


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        ((3, 3, 3), (4, 4, 4), "prompt: scores disagree with the human order"),
        ((3, 4, 3), (4, 4, 4), "prompt: scores tie"),
        ((4, 4, 4), ("no verdict",), "prompt: a reply has no judgement that gives reasons and ends on its score"),
    ],
)
def test_anything_else_is_dropped_with_its_reason(first, second, reason):
    """An unparsed judgement is missing: were it 0, the third case would agree with the human order."""
    accepted = accept([prompt(2)], judged("p-0", *first) + judged("p-1", *second))
    assert (accepted.targets, accepted.prompts, accepted.dropped) == ([], set(), {reason: 1})


@pytest.mark.parametrize(
    "completion",
    [
        "Score: 3",
        f"{REASONS}\nScore: 3\nUser: thanks, and now something else",
        f"{REASONS}\nScore: 3\n\nBut it depends.",
    ],
)
def test_a_score_without_reasons_or_with_more_behind_it_is_not_learned(completion):
    assert fit_to_learn(judged("r", completion)[0]) is None
    accepted = accept([prompt(2)], judged("p-0", completion, 4) + judged("p-1", completion, 2))
    assert [t.score for t in accepted.targets] == [4, 2]


def test_reasons_in_a_script_without_spaces_are_reasons():
    """By spaces these are two words; 24 characters are about 16."""
    reasons = "这个回答与问题有关，也清楚地说明了最重要的几个方面。"
    assert fit_to_learn(judged("r", f"{reasons}\nScore: 3")[0]) is not None
    assert fit_to_learn(judged("r", "很好。\nScore: 3")[0]) is None


def test_a_sample_must_end_on_its_score_in_the_judges_own_form():
    """By "rated [n]" the first sample ends on its score; the second one has a line behind it."""
    form = ScoreFormat(r"rated \[(?P<score>\d+)\]$", 1, 10)
    texts = [f"{REASONS} Therefore rated [7]", f"{REASONS} Therefore rated [7]\nAnd so on."]
    samples = [sample("r", n, text).model_copy(update={"score": 7.0}) for n, text in enumerate(texts)]
    assert fit_to_learn(samples[0], form) is not None
    assert fit_to_learn(samples[1], form) is None
    assert fit_to_learn(samples[0]) is None  # no "Score: n" anywhere


def test_a_cut_off_judgement_is_not_learned():
    cut = judged("p-1", f"{REASONS}\nScore: 3", finish_reason="length")
    accepted = accept([prompt(2)], judged("p-0", 4) + cut)
    assert (accepted.targets, accepted.dropped.total()) == ([], 1)


SCORES = st.lists(st.integers(0, 5) | st.just("no verdict"), min_size=1, max_size=3)


@given(st.lists(SCORES, min_size=2, max_size=4))
def test_accepted_if_and_only_if_some_choice_falls_strictly_and_then_the_nearest_to_the_means(scores):
    """Compared with every choice of one sample a reply."""
    judgements = [j for n, each in enumerate(scores) for j in judged(f"p-{n}", *each)]
    parsed = [[score for score in each if score != "no verdict"] for each in scores]
    falling = [choice for choice in product(*parsed) if all(a > b for a, b in pairwise(choice))]
    accepted = accept([prompt(len(scores))], judgements)
    assert len(accepted.prompts) == (1 if falling else 0)
    assert len(accepted.prompts) + accepted.dropped.total() == 1
    if falling:
        means = [sum(each) / len(each) for each in parsed]
        chosen = tuple(target.score for target in accepted.targets)
        distances = {choice: sum(abs(a - b) for a, b in zip(choice, means, strict=True)) for choice in falling}
        assert distances[chosen] == pytest.approx(min(distances.values()))
