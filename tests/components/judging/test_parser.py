"""What a judge wrote, and the score that it stands for."""

from typing import Any

import pytest
from pydantic import ValidationError

from components.judging.parser import Score, ScoreFormat, parse_score
from components.judging.prompt import built_in_judge_prompt
from components.judging.settings import JudgingSettings


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
def test_an_invalid_score_is_missing_with_its_reason(completion: str) -> None:
    score = parse_score(completion)
    assert score.value is None
    assert score.unparsed


def test_a_number_at_the_cut_may_be_half_of_one() -> None:
    assert parse_score("Score: 4", cut=True).value is None
    assert parse_score("Score: 4\nBecause", cut=True).value == 4.0
    assert parse_score("It is", cut=True).unparsed == "cut off before a score"


WORLD = ScoreFormat(r"(?P<score>\d)$")  # y or n for each digit, then how many are right
BRACKETS = ScoreFormat(r"\[\[(?P<score>[^\[\]]*)\]\]", 1, 10)


@pytest.mark.parametrize(
    ("completion", "score_format", "score"),
    [
        ("8y1y4y0y6n4", WORLD, 4.0),
        ("8y1y4y0y6n4 \n\n", WORLD, 4.0),  # white space at the end is no part of a judgement
        ("Good: [[3]], no, [[8]]. Done", BRACKETS, 8.0),  # the last one counts
        ("[[10]]", BRACKETS, 10.0),
        ("[[7.5]]", BRACKETS, 7.5),
        ("p = .25", ScoreFormat(r"p = (?P<score>\S+)", 0, 1), 0.25),
        ("Score: 8", ScoreFormat(highest=10), 8.0),  # the built-in pattern on another scale
        ("Score: 8/10", ScoreFormat(highest=10), 8.0),
        ("-2", ScoreFormat(r"(?P<score>-?\d+)", -3, 3), -2.0),
        ("x" * 5000 + " [[4]]", BRACKETS, 4.0),
    ],
)
def test_a_custom_pattern_finds_the_last_valid_score(completion: str, score_format: ScoreFormat, score: float) -> None:
    assert parse_score(completion, score_format=score_format).value == score


@pytest.mark.parametrize(
    ("completion", "score_format", "reason"),
    [
        ("8y1y4y0y6n", WORLD, "no score"),
        ("8y1y4y0y6n9", WORLD, "not a number from 0 to 5"),
        ("the score is 45", WORLD, "not a number from 0 to 5"),  # 5 is only the end of a number
        ("a 4.5", WORLD, "not a number from 0 to 5"),
        ("[[0]]", BRACKETS, "not a number from 1 to 10"),
        ("[[11]]", BRACKETS, "not a number from 1 to 10"),
        ("[[ten]]", BRACKETS, "not a number from 1 to 10"),
        ("[[nan]]", BRACKETS, "not a number from 1 to 10"),
        ("[[1_0]]", BRACKETS, "not a number from 1 to 10"),
        ("[[8]] at first, but: [[none]]", BRACKETS, "not a number from 1 to 10"),  # the last one counts
        ("Score: 4", BRACKETS, "no score"),
        ("Score: 4/5", ScoreFormat(highest=10), "not a number from 0 to 10"),
        ("[[4]]" + " and so on" * 300, BRACKETS, "no score"),  # 3,000 characters back: nothing that it ends on
    ],
)
def test_what_a_custom_pattern_does_not_find_is_missing_with_its_reason(
    completion: str, score_format: ScoreFormat, reason: str
) -> None:
    assert parse_score(completion, score_format=score_format) == Score(None, reason)


@pytest.mark.parametrize(
    ("completion", "score_format", "reason"),
    [
        ("8y1y4", WORLD, "cut off in the score"),  # a digit of the reasons, not the score
        ("8y1y", WORLD, "cut off before a score"),
        ("[[1", BRACKETS, "cut off before a score"),
    ],
)
def test_a_cut_off_judgement_in_a_custom_format_has_no_score(
    completion: str, score_format: ScoreFormat, reason: str
) -> None:
    assert parse_score(completion, True, score_format) == Score(None, reason)


def test_a_number_in_brackets_is_whole_at_the_cut() -> None:
    assert parse_score("[[4]]", True, BRACKETS).value == 4.0


def test_a_pattern_that_goes_back_over_the_text_costs_no_minutes() -> None:
    """`a+x` on n letters a takes n * n / 2 steps: 2 million on the last 2,000, 20,000 million on all 200,000."""
    assert parse_score("a" * 200_000, score_format=ScoreFormat(r"a+x(?P<score>\d)")).unparsed == "no score"


def test_a_scale_has_at_most_eleven_points_and_halves_count_upwards() -> None:
    """Whole points up to ten of them, tenths of wider and narrower ranges; halves count upwards."""
    assert ScoreFormat().points == (0, 1, 2, 3, 4, 5)
    assert ScoreFormat(lowest=1, highest=10).points == tuple(range(1, 11))
    assert ScoreFormat(highest=100).points == tuple(range(0, 101, 10))
    assert ScoreFormat(highest=1).points == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1])
    nearest = ScoreFormat(lowest=1, highest=10).nearest
    assert [nearest(score) for score in (1, 1.4, 1.5, 9.5, 10)] == [1, 1, 2, 10, 10]


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"pattern": "(?P<score>"}, "must be a regular expression"),
        ({"pattern": r"\d"}, r"must mark the score as \(\?P<score>"),
        ({"lowest": 5}, "must be above lowest, 5"),
        ({"lowest": 1, "highest": 0}, "must be above lowest, 1"),
        ({"highest": float("inf")}, "finite"),
    ],
)
def test_an_invalid_score_format_is_refused(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        JudgingSettings(**settings)


def test_the_settings_make_the_score_format() -> None:
    prompt = JudgingSettings(pattern=WORLD.pattern, lowest=1, highest=4).judge_prompt()
    assert prompt.score_format == ScoreFormat(WORLD.pattern, 1, 4)
    assert JudgingSettings().judge_prompt() == built_in_judge_prompt()
