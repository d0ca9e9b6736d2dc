"""What a judge wrote, and the score that it stands for."""

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from components.judging.parser import Score, ScoreFormat, parse_score
from components.judging.prompt import built_in_judge_prompt
from components.judging.settings import JudgingSettings
from components.judging.values import read_value
from tests.components.judging.written_scores import OF_THEIR_KIND, REPORTED


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


@pytest.mark.parametrize(("completion", "score"), REPORTED + OF_THEIR_KIND)
def test_the_score_is_what_a_person_reads(completion: str, score: float | None) -> None:
    made = parse_score(completion)
    assert made.value == score
    assert (made.unparsed is None) == (score is not None)


# Without the quotation mark: a text that ends its own quotation is no longer quoted for anybody who sees it alone.
UNTRUSTED = st.lists(
    st.sampled_from(
        ["Score: 5", "Score:", "5", "**", "\\n", "{", "}", ":", "'", "Verdict: A", " good ", "<", "score", "4/5"]
    )
    | st.text(st.characters(blacklist_characters='"“”', blacklist_categories=["Cs"]), max_size=5),
    max_size=8,
).map("".join)
ONE_LINE = UNTRUSTED.map(lambda text: " ".join(text.splitlines()))


@given(quoted=UNTRUSTED, score=st.integers(0, 5))
def test_what_a_judge_quotes_before_its_own_score_changes_nothing(quoted: str, score: int) -> None:
    """The parser sees the completion alone: what is in the candidate or the prompt gets there only as a quotation."""
    for opening, closing in (("", ""), ('"', '"'), ("> ", ""), ("```\n", "\n```")):
        assert (
            parse_score(f"The response says:\n{opening}{quoted}{closing}\nI disagree.\nScore: {score}").value == score
        )


@given(quoted=ONE_LINE, score=st.integers(0, 5))
def test_what_a_judge_quotes_behind_its_own_score_changes_nothing(quoted: str, score: int) -> None:
    for quotation in (f'Its last line, "{quoted}", is a trick.', f"> {quoted}", f"It ends:\n```\n{quoted}\n```"):
        assert parse_score(f"Fair.\nScore: {score}\n{quotation}").value == score


@given(before=st.text(), after=st.text(), number=st.floats(0, 5).map(lambda score: round(score, 2)))
def test_a_score_is_a_number_of_the_scale_or_missing_with_a_reason(before: str, after: str, number: float) -> None:
    score = parse_score(f"{before}Score: {number}{after}")
    assert (score.value is None) != (score.unparsed is None)
    assert score.value is None or 0 <= score.value <= 5


@given(
    first=st.integers(0, 5),
    second=st.integers(0, 5),
    between=st.sampled_from(["-", " or ", " to ", ", ", " + ", " ", "~"]),
)
def test_two_numbers_that_nothing_decides_between_are_no_score(first: int, second: int, between: str) -> None:
    assert parse_score(f"Score: {first}{between}{second}").value is None


@given(terms=st.lists(st.integers(0, 1), min_size=2, max_size=6), result=st.integers(0, 5))
def test_a_sum_is_the_score_that_it_comes_to_and_no_other(terms: list[int], result: int) -> None:
    score = parse_score(f"Score: {' + '.join(map(str, terms))} = {result}").value
    assert score == (result if sum(terms) == result else None)


def test_a_scale_must_be_that_of_the_format() -> None:
    ten = ScoreFormat(highest=10)
    for completion, score in (
        ("Score: 8/10", 8.0),
        ("Score: 8 out of 10", 8.0),
        ("Score: 4/5", None),
        ("Score: 11", None),
    ):
        assert parse_score(completion, score_format=ten).value == score
    assert parse_score("Score: 1,000", score_format=ScoreFormat(highest=1000)).value == 1000
    assert parse_score("Score: -2", score_format=ScoreFormat(lowest=-3)).value == -2


@pytest.mark.parametrize(
    ("completion", "score"),
    [
        ("Rating 4", 4.0),
        ("Rating 4/5", 4.0),
        ("Rating 4/10", None),
        ("Rating 3-4", None),
        ("Rating 3 or 4", None),
        ("Rating 4 out of 10", None),
        ("Rating 4%", None),
        ("Rating -4", None),
        ("Rating ٤", 4.0),
        ("<think>Rating 4</think>", None),
    ],
)
def test_a_custom_pattern_finds_whole_values_too(completion: str, score: float | None) -> None:
    assert parse_score(completion, score_format=ScoreFormat(r"Rating (?P<score>-?\d)")).value == score


PARTS = ["Score: ", "Score: <score> ", '"Score: 5" ', "{", '{"score":', "Score: 1 + ", "Score: 4 (", "**", "~~", "<|"]
PARTS += ["score - ", "Score: 4, ", "<think>", "</think", "1", " ", "\\frac{", "> Score: 4\n", "```\nScore: 4\n"]


@pytest.mark.parametrize("part", PARTS)
def test_a_degenerate_judgement_costs_no_time(part: str) -> None:
    start = time.monotonic()
    parse_score(part * (40_000 // len(part)))
    read_value(part * 1000, 5)
    assert time.monotonic() - start < 2


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
