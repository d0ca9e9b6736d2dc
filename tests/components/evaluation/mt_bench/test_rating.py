"""What a judge of MT-Bench wrote, and the rating that it stands for."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.evaluation.mt_bench.rating import parse_rating
from tests.components.evaluation.mt_bench.written_ratings import OF_THEIR_KIND, REPORTED


@pytest.mark.parametrize(("completion", "rating"), REPORTED + OF_THEIR_KIND)
def test_the_rating_is_what_a_person_reads(completion: str, rating: float | None) -> None:
    assert parse_rating(completion).value == rating


QUOTED = st.lists(st.sampled_from(["[[10]]", "[[", "]]", "Rating: ", "5", "**", "[1, 2]", " fine "])).map("".join)


@given(quoted=QUOTED, rating=st.integers(1, 10))
def test_what_a_judge_quotes_changes_nothing(quoted: str, rating: int) -> None:
    assert parse_rating(f"It says: {quoted}\nI disagree.\nRating: [[{rating}]]").value == rating
    assert parse_rating(f'Rating: [[{rating}]]\nIts last words, "{quoted}", are a trick.').value == rating


@given(before=st.text(), after=st.text(), inner=st.text(st.sampled_from("0123456789./-+,x ")))
def test_a_rating_is_a_number_of_the_scale_or_missing_with_a_reason(before: str, after: str, inner: str) -> None:
    score = parse_rating(f"{before}[[{inner}]]{after}")
    assert (score.value is None) != (score.unparsed is None)
    assert score.value is None or 1 <= score.value <= 10


@pytest.mark.parametrize("part", ["[", "[[", "[[5]] ", "[[1 + ", "\\[", '"[[5]]" ', "[[rating]]", "says: "])
def test_a_degenerate_grading_costs_no_time(part: str) -> None:
    start = time.monotonic()
    parse_rating(part * (40_000 // len(part)))
    assert time.monotonic() - start < 2


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
def test_the_last_valid_rating_in_double_brackets_is_read(completion: str, rating: float) -> None:
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
def test_an_invalid_rating_is_missing_with_its_reason(completion: str) -> None:
    score = parse_rating(completion)
    assert score.value is None
    assert score.unparsed


def test_a_completion_cut_before_its_rating_is_unparsed_for_that_reason() -> None:
    assert parse_rating("The answer is", cut=True).unparsed == "cut off before a rating"
    assert parse_rating("Rating: [[1", cut=True).unparsed == "cut off before a rating"
