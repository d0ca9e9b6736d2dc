"""What a judge wrote, and the score that it stands for."""

import pytest

from components.judging.parser import parse_score


@pytest.mark.parametrize(
    ("completion", "score"),
    [
        ("Good.\nScore: 4", 4.0),
        ("Score: 3.5", 3.5),  # not 3
        ("**Score:** 2", 2.0),
        ("**Score: 2**", 2.0),
        ("Score: <5>", 5.0),
        ("Score: 4/5", 4.0),
        ("score: 0.", 0.0),
        ("Score: 5 points", 5.0),
        ("I would say Score: 1 at first, but no.\nScore: 4", 4.0),  # the last one counts
        ("Score:\n3", 3.0),
    ],
)
def test_a_valid_score_is_read(completion: str, score: float) -> None:
    assert parse_score(completion).value == score


@pytest.mark.parametrize(
    "completion",
    [
        "",
        "A fine answer.",
        "Score: 45",  # neither 4 nor 5
        "Score: 6",
        "Score: -1",
        "Score: 3.5.2",
        "Score: 4x",
        "Score: 80%",
        "Score: 4/10",
        "Score: 1,000",
        "Score: five",
        "Score: 4\nThen again. Score: none",  # the last one counts, even when it says nothing
        "Underscore: 4",
    ],
)
def test_what_is_no_valid_score_is_missing_and_says_why(completion: str) -> None:
    score = parse_score(completion)
    assert score.value is None
    assert score.unparsed


def test_a_number_at_the_cut_may_be_half_of_one() -> None:
    assert parse_score("Score: 4", cut=True).value is None
    assert parse_score("Score: 4\nBecause", cut=True).value == 4.0
    assert parse_score("It is", cut=True).unparsed == "cut off before a score"
