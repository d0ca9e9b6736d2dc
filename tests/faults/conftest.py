"""The table of all faults: each test notes what it did and what came of it, and the table stands at the end. Each test
has a deadline, which tells what hung."""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import pytest

from tests.faults import loop

DEADLINE_S = 600.0  # of a test, and of what it needs before; the longest takes half of that on two quiet cores
TICK_S = 20.0
AGAIN_S = 60.0  # where what follows a missed deadline hangs as well
# begun first, so that of two processes neither waits long for the other in the end
LONGEST = (
    *("test_the_whole_of_srlm_run", "test_a_disk_that_is_full_in_every_stage", "test_store_and_registry"),
    *("test_a_rank_of_two", "test_a_training", "test_the_same_run_started_twice", "test_scores_and_verdicts"),
    *("test_a_run_that_is_killed_again_and_again", "test_the_engine"),
)
COLUMNS = ("what was done", "times", "survived", "clearly refused", "lost", "longest silence")


@dataclass(frozen=True)
class Fault:
    """What was done; how often it was survived, refused with problem and remedy, or lost something. `silence` is the
    longest time without a word, in seconds; None where nobody waits."""

    what: str
    survived: int = 0
    refused: int = 0
    lost: int = 0
    silence: float | None = None

    def and_also(self, other: Fault) -> Fault:
        """The same done again: counts add up, the longer silence counts."""
        silences = [one for one in (self.silence, other.silence) if one is not None]
        counts = (self.survived + other.survived, self.refused + other.refused, self.lost + other.lost)
        return Fault(self.what, *counts, max(silences, default=None))

    def cells(self) -> tuple[str, ...]:
        numbers = (self.survived + self.refused + self.lost, self.survived, self.refused, self.lost)
        return (self.what, *(f"{one:,}" for one in numbers), "-" if self.silence is None else f"{self.silence:.1f} s")


_FAULTS: list[dict[str, Any]] = []


@pytest.fixture
def note(record_property: Callable[[str, Any], None]) -> Callable[..., None]:
    """Notes a row of the table, by the fields of Fault."""
    return lambda what, **counts: record_property("fault", asdict(Fault(what, **counts)))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when == "call":  # a process of xdist sends it with the report
        _FAULTS.extend(value for name, value in report.user_properties if name == "fault")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What was done in several tests is one row."""
    if not _FAULTS:
        return
    rows: dict[str, Fault] = {}
    for fault in sorted((Fault(**one) for one in _FAULTS), key=lambda one: one.what):
        rows[fault.what] = rows.get(fault.what, Fault(fault.what)).and_also(fault)
    terminalreporter.write_line("")
    for cells in (COLUMNS, ("---", *["---:"] * (len(COLUMNS) - 1)), *(row.cells() for row in rows.values())):
        terminalreporter.write_line(f"| {' | '.join(cells)} |")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest of this folder's tests first."""
    order = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(getattr(item, "originalname", ""), len(LONGEST)))


class HungError(Exception):
    """A test has missed its deadline."""


@contextmanager
def deadline(what: str) -> Iterator[None]:
    """Raises HungError in the main thread when it is over, with the stacks of all threads and of what was started.

    A second counts for less on a machine that has more to do than it has cores.
    """

    passed = 0.0

    def tick(*_: object) -> None:
        nonlocal passed
        passed += TICK_S * min(1.0, (os.cpu_count() or 1) / max(os.getloadavg()[0], 0.1))
        if passed < DEADLINE_S:
            return
        signal.setitimer(signal.ITIMER_REAL, AGAIN_S, AGAIN_S)
        faulthandler.dump_traceback(sys.__stderr__ or sys.stderr)
        raise HungError(f"{what} has not ended in {DEADLINE_S:.0f} s; what still runs:\n{loop.stuck()}")

    before = signal.signal(signal.SIGALRM, tick)
    signal.setitimer(signal.ITIMER_REAL, TICK_S, TICK_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, Any, Any]:
    with deadline(f"what {item.nodeid} needs"):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    try:
        with deadline(item.nodeid):
            return (yield)
    finally:
        loop.end_all()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, Any, Any]:
    with deadline(f"the end of {item.nodeid}"):
        return (yield)
