"""Events as they are read: those of a full disk, too."""

from __future__ import annotations

from pathlib import Path

from components.core.progress import EventFile, read_event
from pipelines.local.runs import events

WHOLE = '{"kind": "say", "time": 1.0, "text": "a"}\n'


def test_half_an_event_hides_no_other(tmp_path: Path) -> None:
    """A disk that was full for a while leaves half of one before the beginning of the next, or in the middle of a
    character."""
    path = tmp_path / "events.jsonl"
    read = EventFile(path)
    lines = [WHOLE, WHOLE[:20] + WHOLE, "null\n", "[]\n", "{}\n", WHOLE, WHOLE[:20]]
    path.write_bytes("".join(lines[:-1]).encode() + b'{"kind": "say\xc3\n' + lines[-1].encode())
    assert [event["text"] for event in read.new()] == ["a", "a"]
    assert [event["text"] for event in events(tmp_path)] == ["a", "a"]
    with path.open("a") as stream:
        stream.write(WHOLE[20:])
    assert [event["text"] for event in read.new()] == ["a"]
    assert list(read_event("")) == []
