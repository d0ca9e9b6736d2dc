"""Folders that are needed while a process works: gone when it ends, or, was it killed, when the next one begins."""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from components.core.store import home


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """An empty folder on the disk of SRLM_HOME for large files that are being made."""
    scratch_root().mkdir(parents=True, exist_ok=True)
    with passing_folder(scratch_root()) as folder:
        yield folder


def scratch_root() -> Path:
    return home() / "work"


@contextmanager
def passing_folder(root: Path, prefix: str = "") -> Iterator[Path]:
    """An empty folder below `root`, whose name says whose it is, so that others know when nobody needs it any more."""
    remove_left(root, prefix)
    name = f"{prefix}{os.getpid()}@{socket.gethostname()}@"
    with tempfile.TemporaryDirectory(dir=root, prefix=name, ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def remove_left(root: Path, prefix: str = "") -> None:
    """Remove the folders of this machine's processes that were killed; another machine may share the disk.

    One whose process number belongs to somebody else by now stays, until `srlm gc`.
    """
    for folder in root.glob(f"{prefix}*@{glob.escape(socket.gethostname())}@*"):
        process = folder.name.removeprefix(prefix).split("@")[0]
        with contextlib.suppress(PermissionError):  # it runs, as another user
            try:
                os.kill(int(process) if process.isdecimal() else os.getpid(), 0)
            except ProcessLookupError:
                shutil.rmtree(folder, ignore_errors=True)
