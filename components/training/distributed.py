"""The processes of one training: which one this is, and what they exchange.

torchrun describes them in the environment; without torchrun there is one process and nothing to exchange. An error is
not shared: the process that has it ends, and torchrun ends the others.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from typing import TypeVar

from components.core.errors import UserError

T = TypeVar("T")


def world_size() -> int:
    """Processes on all nodes together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    """This process's number among all of them."""
    return int(os.environ.get("RANK", "0"))


def is_main_process() -> bool:
    """Whether this is the one process that writes to the store and talks to the user."""
    return rank() == 0


def is_local_main_process() -> bool:
    """Whether this is the one process of its node that fills the node's disk."""
    return os.environ.get("LOCAL_RANK", "0") == "0"


def require_gpus(wanted: int) -> None:
    """Raises UserError where this machine, or pod, does not have as many GPUs as the recipe asks for.

    A container may see none though its node has some: training on CPUs would take days without a word (issue 14).
    """
    if not wanted:
        return
    from torch import cuda

    there = cuda.device_count()
    if there < wanted:
        raise UserError(
            f"the recipe asks for {wanted} GPU{'s' * (wanted > 1)} (resources.gpus) and torch sees {there} on "
            f"{socket.gethostname()}",
            f"Set resources.gpus to {there}, or see (nvidia-smi) why they are not there: the machine, its driver; on a "
            "cluster its device plugin, resources.gpu_type.",
        )


def barrier() -> None:
    """Wait until every process is here."""
    if world_size() > 1:
        from torch import distributed

        distributed.barrier()


def all_gather(value: T) -> list[T]:
    """The value of every process, by rank."""
    if world_size() == 1:
        return [value]
    from torch.distributed import all_gather_object

    values: list[T] = [value] * world_size()
    all_gather_object(values, value)
    return values


def broadcast(make: Callable[[], T]) -> T:
    """What `make` returns in the main process, for all of them; the others do not call it."""
    return all_gather([make()] if is_main_process() else [])[0][0]


def broadcast_on_node(value: T) -> T:
    """The value of the first process of this node, for the others of the node."""
    node = os.environ.get("GROUP_RANK", "0")
    gathered = all_gather((node, is_local_main_process(), value))
    return next(value for sender, is_first, value in gathered if is_first and sender == node)


def local_main_process_first(make: Callable[[], T]) -> T:
    """Every process calls `make`, the first of each node before the others, which then find its files there."""
    made = [make()] if is_local_main_process() else []
    barrier()
    return made[0] if made else make()


def seed_per_rank(seed: int) -> None:
    """Give each process random numbers of its own: with the same ones, all would drop out the same units."""
    if world_size() > 1:
        from torch import manual_seed

        manual_seed(seed + rank())
