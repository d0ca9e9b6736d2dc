"""What a step says when the machine, and not the pipeline, is at fault; and what never reaches a terminal."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest

from components.core.local_files import read_state, write_whole
from components.core.progress import RUN_EVENTS, say
from components.core.step import report_errors


def test_a_full_disk_is_no_defect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(RUN_EVENTS, str(tmp_path / "events"))
    with pytest.raises(SystemExit), report_errors("sft"):
        raise OSError(errno.ENOSPC, "No space left on device", "/data/model")
    told = json.loads((tmp_path / "events").read_text())
    assert told["problem"] == "cannot write /data/model: No space left on device"
    assert told["remedy"].startswith("Free some space")


def test_escape_sequences_are_shown_and_not_obeyed(capsys: pytest.CaptureFixture[str]) -> None:
    say("\x1b]0;owned\x07 \x9b2J \ud800 line\nnext")
    assert capsys.readouterr().err == "\ufffd]0;owned\ufffd \ufffd2J \ufffd line\nnext\n"


def test_a_state_file_is_whole_or_made_anew(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "state.json"
    assert read_state(path) is None
    write_whole(path, '{"pid": 1}')
    assert read_state(path) == {"pid": 1}
    for half in (b'{"pid', b"", b"[1]", b"\xff\x00"):
        path.write_bytes(half)
        assert read_state(path) is None
        assert "is damaged" in capsys.readouterr().err
    assert [one.name for one in tmp_path.iterdir()] == ["state.json"]
