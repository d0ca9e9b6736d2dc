"""A prompt is accepted when the mean scores put its replies into exactly the human order."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.core.records import Judgement, Reply, SeedPrompt
from components.eft.targets import accept, closest
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
    """Means 4, 3 and 1 fall from the best reply to the worst: one target for each of the three."""
    accepted = accept([prompt(3)], judged("p-0", 5, 3, 4) + judged("p-1", 3, 3, 3) + judged("p-2", 0, 1, 2))
    assert [(t.id, t.score) for t in accepted.targets] == [("p-0", 4), ("p-1", 3), ("p-2", 1)]
    assert (accepted.prompts, accepted.dropped) == (1, {})
    assert accepted.targets[0].judgement == f"{REASONS} (2)\nScore: 4"
    assert (accepted.targets[0].instruction, accepted.targets[0].response) == ("question p", "text 0")


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        ((3, 3, 3), (4, 4, 4), "prompt: scores disagree with the human order"),
        ((3, 4, 5), (4, 4, 4), "prompt: scores tie"),
        ((4, 4, 4), ("no verdict",), "prompt: a reply has no parsed judgement"),
    ],
)
def test_anything_else_is_dropped_with_its_reason(first, second, reason):
    """An unparsed judgement is missing: were it 0, the third case would agree with the human order."""
    accepted = accept([prompt(2)], judged("p-0", *first) + judged("p-1", *second))
    assert (accepted.targets, accepted.prompts, accepted.dropped) == ([], 0, {reason: 1})


def test_equal_means_of_different_samples_tie():
    """(0.1 + 0.2) / 2 and 0.15 differ in the last bit of a float, not as scores."""
    accepted = accept([prompt(2)], judged("p-0", 0.1, 0.2) + judged("p-1", 0.15))
    assert accepted.dropped == {"prompt: scores tie": 1}


def test_a_missing_sample_does_not_pull_the_mean_down():
    """Mean of 4 and 5 is 4.5, above 4; as 0 the unparsed one would make it 3."""
    accepted = accept([prompt(2)], judged("p-0", 4, "no verdict", 5) + judged("p-1", 4, 4, 4))
    assert [t.score for t in accepted.targets] == [4, 4]


def test_the_sample_nearest_to_the_mean_is_learned_and_the_first_of_equals():
    """Mean of 2, 4, 3 is 3; of 2 and 4 it is 3 too, one point from either: the first."""
    near, tie = judged("r", 2, 4, 3), judged("r", 2, 4)
    assert closest(near, 3.0) is near[2]
    assert closest(tie, 3.0) is tie[0]


@pytest.mark.parametrize(
    "completion",
    [
        "Score: 3",
        f"{REASONS}\nScore: 3\nUser: thanks, and now something else",
        f"{REASONS}\nScore: 3\n\nBut it depends.",
    ],
)
def test_a_score_without_reasons_or_with_more_behind_it_is_not_learned(completion):
    assert closest(judged("r", completion), 3.0) is None
    fit = judged("r", completion, 4)
    assert closest(fit, 3.0) is fit[1]


def test_a_sample_must_end_on_its_score_in_the_judges_own_form():
    """By "rated [n]" the first sample ends on its score; the second one has a line behind it."""
    form = ScoreFormat(r"rated \[(?P<score>\d+)\]$", 1, 10)
    texts = [f"{REASONS} Therefore rated [7]", f"{REASONS} Therefore rated [7]\nAnd so on."]
    samples = [sample("r", n, text).model_copy(update={"score": 7.0}) for n, text in enumerate(texts)]
    assert closest(samples[::-1], 7.0, form) is samples[0]
    assert closest(samples, 7.0) is None  # no "Score: n" anywhere


def test_a_cut_off_judgement_counts_but_is_not_learned():
    cut = judged("p-1", f"{REASONS}\nScore: 3\nand so", finish_reason="length")
    accepted = accept([prompt(2)], judged("p-0", 4) + cut)
    assert [t.id for t in accepted.targets] == ["p-0"]
    assert accepted.dropped == {"example: no sample gives reasons and ends on its score": 1}


SCORES = st.lists(st.integers(0, 5) | st.just("no verdict"), min_size=1, max_size=3)


@given(st.lists(SCORES, min_size=2, max_size=4))
def test_accepted_if_and_only_if_the_means_fall_strictly(scores):
    """With integer scores exact means can be compared as fractions of sums: a / n > b / m when a m > b n."""
    judgements = [j for n, each in enumerate(scores) for j in judged(f"p-{n}", *each)]
    parsed = [[score for score in each if score != "no verdict"] for each in scores]
    falls = all(parsed) and all(sum(a) * len(b) > sum(b) * len(a) for a, b in pairwise(parsed))
    accepted = accept([prompt(len(scores))], judgements)
    assert accepted.prompts == (1 if falls else 0)
    assert accepted.prompts + accepted.dropped.total() == 1
    assert len(accepted.targets) == (len(scores) if falls else 0)
