"""The table of all faults: each test notes what it did and what came of it, and the table stands at the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import pytest

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
