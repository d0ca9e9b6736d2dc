"""Waiting for something that other processes bring about."""

from __future__ import annotations

import time
from collections.abc import Callable


def wait_until(seen: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not seen():
        assert time.monotonic() < deadline, f"not seen within {seconds} s"
        time.sleep(0.5)
