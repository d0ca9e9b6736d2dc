"""How long work takes that is counted: of the last minute, without the wait for the first of it."""

from __future__ import annotations

import pytest

from components.core.pace import Pace, duration


def paced(*samples: tuple[float, int]) -> Pace:
    pace = Pace()
    for time, count in samples:
        pace = pace.after(time, count)
    return pace


def test_nothing_is_known_before_enough_was_done() -> None:
    """The first of 300 after 8 s would be 2,400 s left; the stage takes 90 (issue 15)."""
    assert Pace().left_s(300, 60.0) is None
    assert paced((8.0, 1)).left_s(300, 8.0) is None
    assert paced((8.0, 1), (9.0, 5)).text(300, 9.0) == ""


def test_the_wait_for_the_first_does_not_count() -> None:
    """A server loads for 40 s; then 4 a second are answered, so the 260 that are left after 10 s more take 65 s."""
    pace = paced(*((40 + second / 4, 1 + second) for second in range(40)))
    assert pace.left_s(300, 49.75) == pytest.approx(65, abs=1)


def test_what_comes_at_once_is_one_sample() -> None:
    """16 are answered at a time, each 5 s: 3.2 a second, whatever the first burst looks like."""
    pace = paced(*((5.0 * batch + one / 100, 16 * (batch - 1) + one + 1) for batch in (1, 2, 3) for one in range(16)))
    assert pace.seconds_each == pytest.approx(5 / 16, rel=0.05)


def test_the_last_minute_counts() -> None:
    """One a second for 5 minutes, then one in 3 s for 2."""
    slow = [(300.0 + 3 * number, 300 + number) for number in range(1, 41)]
    pace = paced(*((float(second), second) for second in range(1, 301)), *slow)
    assert pace.seconds_each == pytest.approx(3, rel=0.05)
    assert len(pace.samples) <= 64, "it is written into the journal"


def test_slow_work_is_told_by_its_last_steps() -> None:
    """A training step of 90 s: after the second the 8 that are left take 12 minutes, less each second of the third."""
    pace = paced((200.0, 1), (290.0, 2))
    assert pace.left_s(10, 290.0) == 720
    assert pace.left_s(10, 320.0) == 690
    assert pace.text(10, 290.0) == "0.67/min, 12 min left"


def test_what_stands_still_takes_longer_with_every_second() -> None:
    pace = paced(*((float(second), second) for second in range(1, 31)))
    assert pace.left_s(60, 30.0) == pytest.approx(30)
    left = [pace.left_s(60, now) or 0 for now in (31.0, 60.0, 90.0, 300.0)]
    assert left == sorted(left) and left[-1] > 200


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.1, "10/s"), (0.5, "2/s"), (2.4, "0.42/s"), (20.0, "3/min"), (720.0, "5/h"), (40000.0, "")]
)
def test_a_rate_has_the_unit_in_which_it_can_be_read(seconds: float, text: str) -> None:
    assert paced((0.0, 0), (100 * seconds, 100)).rate == text


def test_a_duration_is_in_the_largest_unit_that_counts_at_least_two() -> None:
    assert [duration(seconds) for seconds in (119, 121, 47 * 3600, 48 * 3600)] == ["119 s", "2 min", "47 h", "2 d"]
