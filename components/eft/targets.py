"""A judgement that the judge is to learn to write, and the cap on how often each score may occur among them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from components.core.hashing import content_hash
from components.judging.parser import BUILT_IN_FORMAT, ScoreFormat


@dataclass(frozen=True)
class Target:
    """The judgement of one reply to one prompt: reasoning, then the score's line. `id` is the reply's."""

    id: str
    instruction: str
    response: str
    judgement: str
    score: float


def cap_classes(
    targets: Sequence[Target], share: float, seed: int, score_format: ScoreFormat = BUILT_IN_FORMAT
) -> list[Target]:
    """The largest selection, in the given order, in which no score class has more than `share` of the whole.

    A class is a point of the scale with the scores nearest to it. Which targets of too large a class stay is decided by
    a hash of seed and id. With fewer classes than 1 / share no selection can hold, and the result is empty.
    """
    classes = {target.id: score_format.nearest(target.score) for target in targets}
    room = dict.fromkeys(score_format.points, class_limit(Counter(classes.values()), share))
    kept: set[str] = set()
    for target in sorted(targets, key=lambda target: content_hash([seed, target.id])):
        if room[classes[target.id]]:
            room[classes[target.id]] -= 1
            kept.add(target.id)
    return [target for target in targets if target.id in kept]


def class_limit(sizes: Counter[float], share: float) -> int:
    """The largest m for which min(size, m) over the classes adds up to at least m / share; 0 where there is none.

    The sum grows ever more slowly with m, so that from the first m that fails all larger ones do.
    """
    exact = Fraction(str(share))  # 0.4 of 5 is 2, not 2 and a rounding error
    limit = 0
    for larger in range(1, max(sizes.values(), default=0) + 1):
        if larger > exact * sum(min(size, larger) for size in sizes.values()):
            break
        limit = larger
    return limit
