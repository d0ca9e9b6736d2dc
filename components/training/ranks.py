"""The processes of one training (ranks): which this is, and what they agree on.

torchrun says it in the environment; without torchrun there is one process and nothing to agree on. An error is not
shared: the rank that has it ends, and torchrun ends the others.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def world_size() -> int:
    """Processes on all nodes together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first() -> bool:
    """Whether this is the one process that writes to the store and talks to the user."""
    return os.environ.get("RANK", "0") == "0"


def is_first_on_node() -> bool:
    """Whether this is the one process of its node that fills the node's disk."""
    return os.environ.get("LOCAL_RANK", "0") == "0"


def wait() -> None:
    """Until every process is here."""
    if world_size() > 1:
        from torch.distributed import barrier

        barrier()


def gathered(value: T) -> list[T]:
    """The value of every process, by rank."""
    if world_size() == 1:
        return [value]
    from torch.distributed import all_gather_object

    values: list[T] = [value] * world_size()
    all_gather_object(values, value)
    return values


def from_first(make: Callable[[], T]) -> T:
    """What the first process makes, for all of them; only there it is made."""
    return gathered([make()] if is_first() else [])[0][0]


def from_first_on_node(value: T) -> T:
    """The value of the first process of this node."""
    node = os.environ.get("GROUP_RANK", "0")
    return next(found for at, first, found in gathered((node, is_first_on_node(), value)) if first and at == node)


def draw_apart(seed: int) -> None:
    """Give each process random numbers of its own: with those of the others, all would drop out the same units."""
    if world_size() > 1:
        from torch import manual_seed

        manual_seed(seed + int(os.environ["RANK"]))


def once_on_each_node(make: Callable[[], T]) -> T:
    """What every process makes, the first of each node before the others, which then find its files there."""
    made = [make()] if is_first_on_node() else []
    wait()
    return made[0] if made else make()
