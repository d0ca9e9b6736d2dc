"""Made-up judgements: short, reasons first, consistent with their score, varied, and always the same."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.core.records import Judgement, Reply, SeedPrompt
from components.eft.ranks import EARNED, NOT_EARNED, judgement_text, score_of_position, targets_from_ranks
from components.eft.targets import accept
from components.judging.parser import parse_score
from components.judging.prompt import transcript


@pytest.mark.parametrize(
    ("replies", "scores"),
    [(1, [5]), (2, [5, 1]), (3, [5, 3, 1]), (4, [5, 4, 2, 1]), (5, [5, 4, 3, 2, 1]), (6, [5, 4, 3, 3, 2, 1])],
)
def test_scores_fall_linearly_from_five_to_one(replies, scores):
    """Four replies: 5, 3.67, 2.33, 1; six: 5, 4.2, 3.4, 2.6, 1.8, 1."""
    assert [score_of_position(position, replies) for position in range(replies)] == scores


def test_halves_round_upwards():
    """Nine replies step by one half: 5, 4.5, 4, 3.5, 3, 2.5, 2, 1.5, 1."""
    assert [score_of_position(position, 9) for position in range(9)] == [5, 5, 4, 4, 3, 3, 2, 2, 1]


@given(st.integers(2, 40))
def test_a_better_reply_never_scores_less(replies):
    scores = [score_of_position(position, replies) for position in range(replies)]
    assert scores == sorted(scores, reverse=True)
    assert (scores[0], scores[-1]) == (5, 1)


@given(st.integers(1, 5), st.integers(0, 9), st.text(max_size=8))
def test_a_judgement_earns_its_points_in_order_and_ends_on_their_number(score, seed, reply_id):
    text = judgement_text(score, seed, reply_id)
    reasons, _, last = text.rpartition("\n")
    assert last == f"Score: {score}"
    assert parse_score(text).value == score
    earned = [any(phrase in reasons for phrase in phrases) for phrases in EARNED]
    assert earned == [point < score for point in range(5)]


@pytest.mark.parametrize("score", range(1, 6))
def test_every_combination_of_phrases_is_short(score):
    """The demo's judge prompt allows 35 words: 24 to 33 are what the shortest and the longest phrases add up to."""
    choices = [EARNED[point] if point < score else NOT_EARNED[point] for point in range(5)]
    lengths = [len(" ".join(sentences).split()) for sentences in product(*choices)]
    assert 24 <= min(lengths) <= max(lengths) <= 33


def test_no_phrase_means_two_things():
    phrases = [phrase for points in (EARNED, NOT_EARNED) for point in points for phrase in point]
    assert len(phrases) == len(set(phrases))


def test_texts_vary_with_the_reply_and_not_from_run_to_run():
    texts = [judgement_text(3, 0, f"reply {n}") for n in range(50)]
    assert len(set(texts)) > 30
    assert texts == [judgement_text(3, 0, f"reply {n}") for n in range(50)]
    assert texts != [judgement_text(3, 1, f"reply {n}") for n in range(50)]


def test_places_count_and_not_ranks():
    """The reply of rank 1 was dropped from the data: ranks 0 and 2 are the best and the last of those left."""
    prompt = SeedPrompt(id="p", text="q", replies=[Reply(id="a", text="x", rank=0), Reply(id="b", text="y", rank=2)])
    targets = targets_from_ranks([prompt], seed=0)
    assert [(t.id, t.instruction, t.response, t.score) for t in targets] == [("a", "q", "x", 5), ("b", "q", "y", 1)]


def test_the_judge_learns_from_what_it_is_shown_of_a_conversation():
    """The instruction of a target is the transcript that candidates are judged with, in both ways to make targets."""
    history = [{"role": "user", "content": "Red?"}, {"role": "assistant", "content": "Blue."}]
    prompt = SeedPrompt(id="p", text="Why?", replies=[Reply(id="r", text="So.", rank=0)], history=history)
    written = {"finish_reason": "stop", "seed": 0, "tokens": 1, "judge_prompt": "", "prompt_id": "p"}
    completion = "It is an answer to what was asked, I think.\nScore: 4"
    sampled = [Judgement(id="r/0", candidate_id="r", completion=completion, score=4, **written)]
    [made_up], [accepted] = targets_from_ranks([prompt], 0), accept([prompt], sampled).targets
    assert made_up.instruction == accepted.instruction == transcript(history, "Why?") != "Why?"
