"""An event loop whose time passes only where everybody waits: minutes of a simulated server in a moment."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class _Selector(selectors.DefaultSelector):  # type: ignore[valid-type, misc]
    """Does not wait: what it was to wait for is past."""

    passed = 0.0

    def select(self, timeout: float | None = None) -> Any:
        self.passed += timeout or 0.0
        return super().select(0)


def run_virtually(main: Coroutine[Any, Any, T]) -> T:
    """What it returns; the loop's `time` is its clock, in seconds from 0. Nothing real may be awaited."""
    selector = _Selector()
    loop = asyncio.SelectorEventLoop(selector)
    loop.time = lambda: selector.passed  # type: ignore[method-assign]
    try:
        return loop.run_until_complete(main)
    finally:
        loop.close()
