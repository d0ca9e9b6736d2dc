"""What a killed process leaves on this machine's disk goes when the next one begins."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from components.core.scratch import passing_folder, remove_left
from tests.helpers.paths import ROOT

KILLED = """
import os, sys
from pathlib import Path
from components.core.scratch import passing_folder
with passing_folder(Path(sys.argv[1]), "work-") as folder:
    (folder / "weights").write_text("half")
    os.kill(os.getpid(), 9)
"""


def test_a_killed_process_leaves_nothing_for_long(tmp_path: Path) -> None:
    """Others' folders stay: of who is at work, of another machine, and what nobody's name is on."""
    kept = ["work-1@elsewhere@x", "work-x@y", "notes", f"work-{os.getpid()}@{os.uname().nodename}@mine"]
    for name in kept:
        (tmp_path / name).mkdir()
    ended = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], cwd=ROOT)
    assert ended.returncode == -signal.SIGKILL
    assert len(list(tmp_path.iterdir())) == len(kept) + 1
    with passing_folder(tmp_path, "work-") as folder:
        assert list(folder.iterdir()) == []
        assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*kept, folder.name])
    remove_left(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)
