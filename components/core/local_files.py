"""Small files of this machine that say how things stand: whole or not there at all, whatever ends their writer."""

from __future__ import annotations

import errno
import json
import os
import uuid
from pathlib import Path
from typing import Any

from components.core.errors import UserError
from components.core.progress import warn

FULL = (errno.ENOSPC, errno.EDQUOT)  # of a disk, of its share


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


def machine_lacks(error: Exception) -> UserError | None:
    """What the user can do where an error says that this machine has no more of something; None for any other error."""
    if isinstance(error, OSError) and error.errno in FULL:
        return cannot_write(str(error.filename or "a file"), error)
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
        return UserError(
            f"this process may open no more files: {error.strerror}",
            "Raise the limit (ulimit -n), then run again: finished work is kept.",
        )
    no_memory = isinstance(error, OSError) and error.errno == errno.ENOMEM
    if no_memory or isinstance(error, MemoryError) or "can't allocate memory" in str(error):  # the last one is torch's
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
