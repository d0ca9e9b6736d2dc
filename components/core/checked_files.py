"""Whether files of this machine still have the content that was published; what was read once is not read in vain."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.core.errors import UserError
from components.core.hashing import content_hash, file_hash
from components.core.local_files import read_state, write_whole
from components.core.progress import Progress
from components.core.records import File
from components.core.store import home


def changed_file(folder: Path, files: Mapping[str, File]) -> str:
    """The first of `files`, by their names in `folder`, that has other content, or a file that nobody published;
    "" where all is as it was published.

    A file whose size and dates are those with which its content was looked at before is not read again.
    """
    there = _dates(folder)
    if more := sorted(there.keys() - files.keys()):
        return more[0]
    known = read_state(_note(folder)) or {}
    unread = [name for name in files if name not in there or known.get(name) != [files[name].sha256, *there[name]]]
    if not unread:
        return ""
    with Progress("checking the model's files (MB)", sum(files[name].megabytes for name in unread)) as progress:
        for name in unread:
            if name not in there or file_hash(folder / name) != files[name].sha256:
                return name
            progress.advance(files[name].megabytes)
    remember(folder, files)
    return ""


def remember(folder: Path, files: Mapping[str, File]) -> None:
    """Note that the files have this content now."""
    there = _dates(folder)
    known = {name: [file.sha256, *there[name]] for name, file in files.items() if name in there}
    with contextlib.suppress(UserError):  # a disk that takes nothing: they are read again next time
        write_whole(_note(folder), json.dumps(known))


def _dates(folder: Path) -> dict[str, list[Any]]:
    """Size and dates (of content and of the entry itself, which nobody can set) of each file, by its name.

    What a killed writer has left beside them is no file of the model.
    """
    found = {}
    for path in folder.rglob("*"):
        if path.is_file() and not path.name.startswith(".draft-"):
            status = path.stat()
            found[path.relative_to(folder).as_posix()] = [status.st_size, status.st_mtime_ns, status.st_ctime_ns]
    return found


def _note(folder: Path) -> Path:
    return home() / "cache" / "checked" / f"{content_hash(str(folder))[:16]}.json"
