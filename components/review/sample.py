"""Which items a person is asked: half of them in dispute, the rest at random; and what each of them stands for."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Collection, Iterable, Sequence

from components.core.hashing import seed_from
from components.review.items import Item, Kind, Rater

Stratum = tuple[Kind, Rater, bool]  # the last says whether the item is in dispute
# Shares of the sample: the preferences that DPO learnt from count most, and a share of 30 items proves something.
SHARES: dict[tuple[Kind, Rater], float] = {
    ("order", "judge"): 0.7,
    ("order", "annotator"): 0.2,
    ("score", "judge"): 0.1,
}


def stratum(item: Item) -> Stratum:
    return item.kind, item.rater, bool(item.hard)


def draw(items: Sequence[Item], size: int, seed: int) -> list[Item]:
    """At most `size` items in random order, of each kind its share, and of that half from those in dispute.

    What one kind lacks the others give. The same seed draws the same.
    """
    draws = random.Random(seed_from(seed, "review"))
    shuffled = draws.sample(sorted(items, key=lambda item: item.id), len(items))
    chosen: list[Item] = []
    for (kind, rater), share in SHARES.items():
        wanted, of_kind = round(size * share), [one for one in shuffled if (one.kind, one.rater) == (kind, rater)]
        hard = [item for item in of_kind if item.hard][: wanted // 2]
        easy = [item for item in of_kind if not item.hard][: wanted - len(hard)]
        chosen += hard + easy
    taken = {item.id for item in chosen}
    chosen += [item for item in shuffled if item.id not in taken][: max(0, size - len(chosen))]
    return draws.sample(chosen[:size], min(size, len(chosen)))


def weights(items: Iterable[Item], labelled: Collection[str]) -> dict[Stratum, float]:
    """How many items of its stratum each labelled one stands for: disputed ones are asked more often than they occur.

    `items` are all that there are, `labelled` the ids of those with a label. A stratum without a label has no weight.
    """
    all_items = list(items)
    there = Counter(stratum(item) for item in all_items)
    asked = Counter(stratum(item) for item in all_items if item.id in labelled)
    return {one: there[one] / number for one, number in asked.items()}
