"""Whether steps are walked to see what they would make (srlm plan), and make nothing.

The steps of a run are walked themselves (pipelines/graph/execution.py), so that no plan says anything else than what a
run does. What would write or start something asks here: a claim's mark, a stage that is not finished, a server's end.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from components.core.stage import Stage

_LOOKING = ContextVar("looking", default=False)


class UnmadeStageError(Exception):
    """A stage that is not finished, in its making, before anything is made."""

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage.uri)
        self.stage = stage


@contextmanager
def only_looking() -> Iterator[None]:
    """Inside, whoever makes a stage that is not finished gets UnmadeStageError, and nothing is written."""
    token = _LOOKING.set(True)
    try:
        yield
    finally:
        _LOOKING.reset(token)


def looking() -> bool:
    return _LOOKING.get()
