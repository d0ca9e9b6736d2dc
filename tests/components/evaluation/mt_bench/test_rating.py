"""What an annotator wrote, and the rating that it stands for."""

import pytest

from components.evaluation.mt_bench.rating import parse_rating


@pytest.mark.parametrize(
    ("completion", "rating"),
    [
        ("Good.\n\nRating: [[5]]", 5.0),
        ("[[7.5]]", 7.5),
        ("[[ 1 ]]", 1.0),
        ("Rating: [[10]].", 10.0),
        ("[[7]]/10", 7.0),
        ("It rates itself [[10]], which is wrong.\nRating: [[2]]", 2.0),  # the last one counts
    ],
)
def test_a_valid_rating_is_read(completion: str, rating: float) -> None:
    assert parse_rating(completion).value == rating


@pytest.mark.parametrize(
    "completion",
    [
        "",
        "Rating: 5",
        "Rating: [5]",
        "[[11]]",
        "[[0]]",
        "[[0.9]]",
        "[[-3]]",
        "[[rating]]",
        "[[]]",
        "[[3]]/5",
        "[[1, 2]]",
        "[[5]] or rather [[none]]",  # the last one counts, even when it says nothing
    ],
)
def test_what_is_no_valid_rating_is_missing_and_says_why(completion: str) -> None:
    score = parse_rating(completion)
    assert score.value is None
    assert score.unparsed


def test_a_completion_that_was_cut_says_so() -> None:
    assert parse_rating("The answer is", cut=True).unparsed == "cut off before a rating"
    assert parse_rating("Rating: [[1", cut=True).unparsed == "cut off before a rating"
