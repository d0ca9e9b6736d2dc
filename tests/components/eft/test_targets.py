"""No score class above its share, and no target dropped without need."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.eft.targets import Target, cap_classes, class_limit
from components.judging.parser import BUILT_IN_FORMAT, ScoreFormat


def target(id: str, score: float) -> Target:
    return Target(id, "instruction", "response", "judgement", score)


def targets(*scores: float) -> list[Target]:
    return [target(f"t{n}", score) for n, score in enumerate(scores)]


def best_by_trying(sizes: list[int], share: Fraction) -> int:
    """The largest total over every choice of class sizes that keeps each within its share."""
    choices = product(*(range(size + 1) for size in sizes))
    return max(sum(choice) for choice in choices if max(choice) <= share * sum(choice))


SHARES = st.sampled_from([0.2, 0.25, 0.3, 0.34, 0.4, 0.5, 0.7, 1.0])


@given(st.lists(st.integers(0, 6), min_size=1, max_size=4), SHARES)
def test_the_cap_keeps_as_many_as_any_selection_could(sizes, share):
    """Compared with all selections: dropping less from one class or more from another cannot keep more in the whole."""
    given_targets = targets(*[score for score, size in enumerate(sizes) for _ in range(size)])
    kept = cap_classes(given_targets, share, seed=0)
    assert len(kept) == best_by_trying(sizes, Fraction(str(share)))


@given(st.lists(st.sampled_from([0, 1, 2, 3, 3.5, 4, 4, 4, 5]), max_size=60), SHARES, st.integers(0, 3))
def test_no_class_exceeds_its_share_and_the_order_stays(scores, share, seed):
    given_targets = targets(*scores)
    kept = cap_classes(given_targets, share, seed)
    classes = Counter(BUILT_IN_FORMAT.nearest(each.score) for each in kept)
    assert all(count <= Fraction(str(share)) * len(kept) for count in classes.values())
    assert kept == [each for each in given_targets if each in kept]


@given(st.permutations(targets(4, 4, 4, 4, 3, 5)))
def test_which_targets_stay_does_not_depend_on_their_order(order):
    """Four of six have score 4; with half the examples allowed, 2 of them stay beside 3 and 5."""
    kept = {each.id for each in cap_classes(order, 0.5, seed=0)}
    assert len(kept) == 4
    assert kept == {each.id for each in cap_classes(targets(4, 4, 4, 4, 3, 5), 0.5, seed=0)}


def test_a_share_is_exact():
    """2 of 5 is exactly 40 %, though 0.4 is no binary fraction; so is 7 of 10 for 0.7."""
    assert class_limit(Counter({1: 2, 2: 2, 3: 1}), 0.4) == 2
    assert class_limit(Counter({1: 7, 2: 3}), 0.7) == 7


def test_too_few_classes_leave_nothing():
    """Two classes cannot both be at most 40 % of the whole."""
    assert cap_classes(targets(5, 1, 5, 1), 0.4, seed=0) == []


@pytest.mark.parametrize(("score", "expected"), [(0, 0), (2.4, 2), (2.5, 3), (3.5, 4), (4.9, 5), (5, 5)])
def test_a_decimal_score_belongs_to_the_nearest_point(score, expected):
    assert BUILT_IN_FORMAT.nearest(score) == expected


def test_classes_follow_the_scale():
    """From 0 to 100 a class is ten points wide: 42 and 38 are one, 7 and 5 another (halves upwards), 91 a third.

    With 40 % at most, m of each of the two classes of two need m <= 0.4 (2 m + 1): m = 2.
    """
    scale = ScoreFormat(highest=100)
    assert [scale.nearest(score) for score in (42, 38, 7, 5, 91)] == [40, 40, 10, 10, 90]
    assert len(cap_classes(targets(42, 38, 7, 5, 91), 0.4, 0, scale)) == 5
    assert len(cap_classes(targets(42, 38, 41, 7, 5, 91), 0.4, 0, scale)) == 5
