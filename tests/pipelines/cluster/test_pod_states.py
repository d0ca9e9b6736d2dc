"""The logs of pods, from the bytes that the cluster streams."""

from __future__ import annotations

from pipelines.cluster.pod_states import lines


def test_lines_come_whole_however_the_stream_is_cut() -> None:
    """The two bytes of é lie in two chunks."""
    assert list(lines(iter([b"caf\xc3", b"\xa9\nhal", b"f\n", b"rest"]))) == ["café", "half", "rest"]
