"""The logs of containers, from the bytes that the cluster streams."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from urllib3.exceptions import ProtocolError

from components.kubernetes import logs as module
from components.kubernetes.logs import lines, log_lines


def test_lines_come_whole_however_the_stream_is_cut() -> None:
    """The two bytes of é lie in two chunks."""
    assert list(lines(iter([b"caf\xc3", b"\xa9\nhal", b"f\n", b"rest"]))) == ["café", "half", "rest"]


class Breaking:
    """A container of four lines whose log breaks after so many: by an error, or (None) as if it had come to its end."""

    namespace = "runs"
    written = [f"2026-11-26T06:00:0{second}.000000000Z line {second}\n".encode() for second in range(4)]

    def __init__(self, *breaks: tuple[int, Exception | None]) -> None:
        self.breaks, self.reads = list(breaks), 0
        self.core = self

    def read_namespaced_pod(self, name: str, namespace: str) -> Any:
        phase = "Running" if self.breaks else "Succeeded"
        return SimpleNamespace(status=SimpleNamespace(phase=phase, init_container_statuses=[], container_statuses=[]),
                               spec=SimpleNamespace(restart_policy="Never"))  # fmt: skip

    def read_namespaced_pod_log(self, name: str, namespace: str, **named: Any) -> Any:
        self.reads += 1
        return SimpleNamespace(stream=lambda: self._stream(*(self.breaks.pop(0) if self.breaks else (4, None))))

    def _stream(self, count: int, error: Exception | None) -> Iterator[bytes]:
        yield from self.written[:count]
        if error:
            raise error


@pytest.mark.parametrize(
    "breaks",
    [[], [(2, ProtocolError("away"))], [(1, ConnectionResetError()), (3, None)], [(0, None)]],
    ids=["whole", "an error", "twice", "at once"],
)
def test_a_stream_that_breaks_is_read_again_and_no_line_comes_twice(
    monkeypatch: pytest.MonkeyPatch, breaks: list[tuple[int, Exception | None]]
) -> None:
    monkeypatch.setattr(module, "POLL_INTERVAL_S", 0)
    cluster = Breaking(*breaks)
    assert list(log_lines(cluster, "p", "c")) == [f"line {second}" for second in range(4)]  # type: ignore[arg-type]
    assert cluster.reads == len(breaks) + 1


def test_a_log_that_is_not_followed_is_read_once() -> None:
    cluster = Breaking((2, None), (4, None))
    assert list(log_lines(cluster, "p", "c", follow=False)) == ["line 0", "line 1"]  # type: ignore[arg-type]
