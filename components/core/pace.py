"""How fast work goes, and how long what is left takes: of the last minute, without the wait for the first of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

WINDOW_S = 60.0  # that counts; slow work counts longer, for FEWEST samples
FEWEST = 10
SPACING_S = 2.0  # between samples: what comes at once, as an engine's first batch does, is one
ENOUGH_S = 5.0  # of work, before anything is said

Sample = tuple[float, int]  # seconds, how much was done then


@dataclass(frozen=True)
class Pace:
    """Samples of work that is counted, oldest first.

    Nothing is known until something was done: a server that warms up, a model that compiles, would make the first rate
    a tenth of what follows (2,500 s left of a stage of 90 s; issue 15).
    """

    samples: Sequence[Sample] = ()

    def after(self, time: float, count: int) -> Pace:
        """With the work that was done at this time."""
        kept = list(self.samples)
        if len(kept) > 1 and time - kept[-2][0] < SPACING_S:
            kept.pop()
        kept.append((time, count))
        while len(kept) > FEWEST and kept[1][0] < time - WINDOW_S:
            kept.pop(0)
        return Pace(tuple(kept))

    @property
    def seconds_each(self) -> float | None:
        """None while too little was done to say."""
        if not self.samples:
            return None
        first = [sample for sample in self.samples if sample[0] - self.samples[0][0] < SPACING_S][-1]
        made, seconds = self.samples[-1][1] - first[1], self.samples[-1][0] - first[0]
        return seconds / made if made > 0 and seconds >= ENOUGH_S else None

    def left_s(self, total: int, now: float) -> float | None:
        """Seconds until all is done; what takes longer than usual now counts from when it does."""
        each = self.seconds_each
        if each is None:
            return None
        time, count = self.samples[-1]
        waited = max(0.0, now - time)
        late = max(0.0, waited - each) / max(1, count - self.samples[0][1])
        return max(0.0, (total - count) * (each + late) - min(waited, each))

    @property
    def rate(self) -> str:
        """In a unit of which there is a tenth or more: 12/s, 0.41/s, 3.2/min; "" where it is not known."""
        each = self.seconds_each
        for unit, size in (("s", 1), ("min", 60), ("h", 3600)):
            number = size / each if each else 0.0
            if number >= 0.1:
                return f"{number:.0f}/{unit}" if number >= 10 else f"{number:.2g}/{unit}"
        return ""

    def text(self, total: int, now: float) -> str:
        """Of work whose count is told already: "0.41/s, 12 s left"; "" where nothing is known."""
        left = self.left_s(total, now)
        return ", ".join(filter(None, (self.rate, "" if left is None else f"{duration(left)} left")))


def duration(seconds: float) -> str:
    """In the largest unit that counts at least two: 95 s, 12 min, 30 h, 4 d."""
    seconds = max(0.0, seconds)
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size:.0f} {unit}"
    return f"{seconds:.0f} s"
