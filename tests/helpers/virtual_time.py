"""Time that passes only where somebody sleeps: waits of minutes in a test that takes none."""

from __future__ import annotations

import asyncio

REAL_S = 0.03  # for real requests that are under way: time does not pass over them


class VirtualTime:
    """A clock and its sleep, in seconds. Who sleeps wakes in the order of the times to which they sleep."""

    def __init__(self) -> None:
        self.time = 0.0
        self.slept: list[float] = []
        self._waking: list[float] = []

    def now(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        until = self.time + seconds
        self._waking.append(until)
        await asyncio.sleep(REAL_S)
        while until > min(self._waking):
            await asyncio.sleep(0)
        self._waking.remove(until)
        self.time = max(self.time, until)
