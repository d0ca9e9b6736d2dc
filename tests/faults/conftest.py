"""The table of all faults: each test notes what it did and what came of it, and the table stands at the end. Each test
has a deadline, which tells what hung."""

from __future__ import annotations

import faulthandler
import signal
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import pytest

from tests.faults import loop

DEADLINE_S = 420.0  # of a test, and of what it needs before; the longest takes a quarter of that on two quiet cores
AGAIN_S = 60.0  # where what follows a missed deadline hangs as well
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
    if not _FAULTS:
        return
    rows = [Fault(**fault).cells() for fault in _FAULTS]
    terminalreporter.write_line("")
    for cells in (COLUMNS, ("---", *["---:"] * (len(COLUMNS) - 1)), *rows):
        terminalreporter.write_line(f"| {' | '.join(cells)} |")


class HungError(Exception):
    """A test has missed its deadline."""


@contextmanager
def deadline(what: str) -> Iterator[None]:
    """Raises HungError in the main thread when it is over, with the stacks of all threads and of what was started."""

    def missed(*_: object) -> None:
        faulthandler.dump_traceback(sys.__stderr__ or sys.stderr)
        raise HungError(f"{what} has not ended in {DEADLINE_S:.0f} s; what still runs:\n{loop.stuck()}")

    before = signal.signal(signal.SIGALRM, missed)
    signal.setitimer(signal.ITIMER_REAL, DEADLINE_S, AGAIN_S)
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
