"""Stages of a store in a folder, as they look after some time."""

from __future__ import annotations

import os
import time
from datetime import timedelta
from pathlib import Path


def age(folder: str | Path, by: timedelta) -> None:
    """Date all files below a folder back."""
    date = time.time() - by.total_seconds()
    for path in Path(folder).rglob("*"):
        if path.is_file():
            os.utime(path, (date, date))
