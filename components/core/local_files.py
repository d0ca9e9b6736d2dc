"""Small files of this machine that say how things stand: whole or not there at all, whatever ends their writer."""

from __future__ import annotations

import errno
import json
import os
import re
import uuid
from pathlib import Path
from typing import Any

from components.core.errors import UserError
from components.core.progress import warn

FULL = (errno.ENOSPC, errno.EDQUOT)  # of a disk, of its share
# What libraries say of it where they raise no OSError: safetensors and tokenizers, SQLite, torch.save.
_SAID = re.compile(
    rf"os error ({'|'.join(map(str, FULL))})\b|disk is full|basic_ios::clear: iostream error|unexpected pos \d+ vs \d+"
    "|failed writing file"
)


def write_whole(path: Path, text: str, mode: int = 0o644) -> None:
    """Write aside, then rename: a full disk or SIGKILL leaves the file as it was. Raises UserError where it cannot."""
    draft = path.with_name(f".draft-{uuid.uuid4().hex}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:
            file.write(text)
        draft.replace(path)
    except OSError as error:
        raise cannot_write(str(path), error) from error
    finally:
        draft.unlink(missing_ok=True)


def read_state(path: Path) -> dict[str, Any] | None:
    """The JSON object in the file; None where there is none, or, with a word about it, what is none."""
    try:
        state = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError:
        state = None
    if not isinstance(state, dict):
        warn(f"{path} is damaged, as a full disk leaves a file, and is made anew")
        return None
    return state


def machine_lacks(error: BaseException) -> UserError | None:
    """What the user can do where an error says that this machine has no more of something, whichever library met it and
    however it was raised again; None for any other error."""
    met: BaseException | None = error
    while met is not None:
        if not isinstance(met, UserError) and (told := _disk_full(met) or _limit_reached(met)):
            return told
        met = met.__cause__ or met.__context__
    return None


def _disk_full(error: BaseException) -> UserError | None:
    if isinstance(error, OSError) and error.errno in FULL:
        return cannot_write(str(error.filename or "a file"), error)
    if _SAID.search(str(error)):
        return cannot_write("a file", OSError(errno.ENOSPC, f"{os.strerror(errno.ENOSPC)} ({error})"))
    return None


def _limit_reached(error: BaseException) -> UserError | None:
    number = error.errno if isinstance(error, OSError) else None
    if number in (errno.EMFILE, errno.ENFILE):
        return UserError(
            f"this process may open no more files: {os.strerror(number)}",
            "Raise the limit (ulimit -n), then run again: finished work is kept.",
        )
    if number == errno.ENOMEM or isinstance(error, MemoryError) or "can't allocate memory" in str(error):  # torch's
        return UserError(
            "this process may take no more memory",
            "Free some of it, or raise the limit (in pods cluster.steps.memory_limit, resources.memory_limit), "
            "then run again: finished work is kept.",
        )
    return None


def cannot_write(name: str, error: OSError) -> UserError:
    """What a disk that takes no more, or a folder that may not be written, means to the user."""
    remedy = "Free some space" if error.errno in FULL else "Check the path and its permissions"
    return UserError(f"cannot write {name}: {error.strerror}", f"{remedy}, then run again: finished work is kept.")
