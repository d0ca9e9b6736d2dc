"""What something took and what it cost, as stages, steps and reports say it (issue 15)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

Name = TypeVar("Name", bound=str)
Kind = Literal[
    "engine",  # answers are awaited
    "training",
    "starting",  # servers, pods and processes; a model is loaded, libraries are imported
    "storing",
    "fetching",
    "waiting",  # a server is busy or away: nobody is answered, and it is asked again
    "registering",
    "reporting",
    "computing",  # what a stage does between these
    "elsewhere",  # another process makes the stage, and says what it spent
    "stages",  # of a step: they have ledgers of their own
    "unattributed",  # what a step does beside stages and the rest of these
]
Amount = Literal[
    "answers",
    "unmetered",  # answers whose server does not say how many tokens they took
    "prompt_tokens",
    "completion_tokens",
    "retries",  # requests that failed
    "trained_tokens",
    "flops",  # of a training in bf16, by its formula (training/trainer.py)
    "bytes_up",
    "bytes_down",
]


class Spent(BaseModel):
    """What something took: seconds of wall by what they went on, which add up, and what was counted; absent is unknown.

    `gpus` were held all the time (None: not known, as of a server that is not ours), each a `gpu`; `cores` are those of
    the machine where work is done without one. `attempts` are how many it is the sum of.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    seconds: dict[Kind, float] = Field(default_factory=dict)
    amounts: dict[Amount, float] = Field(default_factory=dict)
    gpus: int | None = None
    cores: int | None = None
    gpu: str = ""
    attempts: int = 1

    @property
    def wall(self) -> float:
        """Seconds of all kinds."""
        return sum(self.seconds.values())

    def plus(self, other: Spent) -> Spent:
        """Both together, one after the other: of GPUs and cores the larger number."""

        return Spent(
            seconds=_added(self.seconds, other.seconds),
            amounts=_added(self.amounts, other.amounts),
            gpus=_most(self.gpus, other.gpus),
            cores=_most(self.cores, other.cores),
            gpu=self.gpu or other.gpu,
            attempts=self.attempts + other.attempts,
        )

    def made_elsewhere(self, there: Spent) -> Spent:
        """Of a step that had a stage made by another process: what that says, and its start for what it does not."""
        own = dict(self.seconds)
        start = max(0.0, own.pop("elsewhere", 0.0) - there.wall)
        both = Spent(seconds=own, amounts=self.amounts).plus(Spent(seconds={"starting": start})).plus(there)
        return both.model_copy(update={"attempts": self.attempts})


def _added(one: Mapping[Name, float], other: Mapping[Name, float]) -> dict[Name, float]:
    return {name: one.get(name, 0) + other.get(name, 0) for name in dict.fromkeys([*one, *other])}


def _most(one: int | None, other: int | None) -> int | None:
    """The larger of those that are known."""
    return max((value for value in (one, other) if value is not None), default=None)
