"""No step is silent for longer than half a minute: where it stands then is what it says (issue 16)."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from components.core.progress import heard, say

LONGEST_SILENCE_S = 30.0


@contextmanager
def never_silent(longest: float = LONGEST_SILENCE_S) -> Iterator[None]:
    """While the block runs: after so many seconds without a word, and again after as many more, where it is.

    What says more by itself (progress, a wait that is told) is left alone.
    """
    ended, worker = threading.Event(), threading.get_ident()

    def tell() -> None:
        since = last = time.monotonic()  # a clock that is set back by an hour must not make an hour of silence
        word = heard()
        while not ended.wait(longest / 30):
            if heard() != word:
                word, since = heard(), time.monotonic()
                last = since
            if time.monotonic() - last >= longest:
                say(f"nothing new for {time.monotonic() - since:.0f} s, at {_place(worker)}")
                word, last = heard(), time.monotonic()

    telling = threading.Thread(target=tell, daemon=True)
    telling.start()
    try:
        yield
    finally:
        ended.set()
        telling.join()


def _place(thread: int) -> str:
    """The innermost of our functions that the thread is in: what lies below is a library's wait."""
    frame = sys._current_frames().get(thread)
    while frame:
        module = frame.f_globals.get("__name__", "")
        if module.startswith(("components.", "pipelines.")):
            return f"{module}.{frame.f_code.co_name}"
        frame = frame.f_back
    return "its start"
