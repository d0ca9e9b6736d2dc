"""What every step of a run knows (what to do, and where), and what one phase of the run hands to the next."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

from pydantic import ValidationError

from components.core.claims import claim
from components.core.course import recorded
from components.core.errors import UserError, too_new
from components.core.journal import CONTEXT, read_journal, write_journal
from components.core.records import Manifest
from components.core.settings import Settings
from components.core.step import run_stage, step
from components.core.store import join, open_store
from components.core.wrong_values import first_mistake

S = TypeVar("S", bound=Settings)
Made = TypeVar("Made")


def of_this_version(kind: Callable[..., Made], values: dict[str, Any], where: str) -> Made:
    """The dataclass of these values; raises UserError where a newer version has written more than this one knows."""
    more = sorted(values.keys() - kind.__annotations__.keys())
    if more:
        raise too_new(where, ", ".join(more))
    try:
        return kind(**values)
    except TypeError as error:  # an older one has written less than this one needs
        raise _other_version(where, str(error).partition("() ")[2]) from error


def _other_version(uri: str, why: str) -> UserError:
    return UserError(
        f"the run {uri} was begun by a version of this package that this one does not understand ({why})",
        "Go on with the version that began it, or start a new run, which reuses what is the same.",
    )


@dataclass(frozen=True)
class RunContext:
    """A run's name, its recipe's sections as JSON values, and where it happens.

    `changed` are the settings in which the recipe differs from the shipped one: [shipped, here] by dotted name.

    The first step writes it to `<store>/runs/<run>/`; that URI is all that the other steps are told of it. So a
    pipeline holds the recipe once, and its packages stay far below what Argo and etcd allow (pipelines/graph/size.py).
    """

    store: str
    run: str
    recipe: dict[str, Any]
    tracking_uri: str
    engine: str
    endpoint: str
    judge_endpoint: str
    annotator_endpoint: str
    worker_image: str
    trainer_image: str
    engine_image: str
    judge_model: str = ""
    annotator_model: str = ""
    changed: dict[str, list[str]] = field(default_factory=dict)

    @property
    def uri(self) -> str:
        return join(self.store, "runs", self.run)

    def write(self) -> None:
        """The recipe goes into the journal, where later evaluations of the run's models find it."""
        claim(open_store(self.uri))
        write_journal(self.store, self.run, "recipe", "recipe", self.recipe)
        where = {name: value for name, value in asdict(self).items() if name != "recipe"}
        open_store(self.uri).write(CONTEXT, json.dumps(where, indent=1).encode())

    def section(self, name: str, settings: type[S]) -> S:
        """The settings of one section of the recipe."""
        return self._read(name, settings, self.recipe.get(name, {}))

    def optional(self, name: str, settings: type[S]) -> S | None:
        """The same; None where the recipe does not have the section."""
        return self._read(name, settings, self.recipe[name]) if name in self.recipe else None

    def _read(self, name: str, settings: type[S], values: Any) -> S:
        try:
            return settings.model_validate(values)
        except ValidationError as error:
            raise _other_version(self.uri, first_mistake(error, [name])) from error

    def state(self, name: str) -> dict[str, Any]:
        """The run's state after the phase of the model `name`. Raises UserError where no part of it got that far."""
        for entry in read_journal(self.store, self.run, "states"):
            if entry["name"] == name:
                return entry
        raise UserError(f"the run {self.run} has not made {name.upper()} yet", "Run its earlier part first.")

    def make(self, name: str, make: Callable[[], Manifest]) -> str:
        """Make a stage (or find it), note it in the run's journal as `name`, e.g. "m1/judging"; returns its URI."""
        return run_stage(self.store, self.run, name, make)


# Of a run that is only looked at (components/run/look.py): its steps find it here, as none has begun it.
LOOKED_AT: ContextVar[RunContext | None] = ContextVar("looked_at", default=None)


@contextmanager
def open_step(uri: str, name: str) -> Iterator[RunContext]:
    """A step of the run whose folder is `uri`, announced as `name`, e.g. "judge M1"."""
    if looked_at := LOOKED_AT.get():
        yield looked_at
        return
    root, run = uri.rsplit("/runs/", 1)
    with recorded(root, run, name), step(name):
        yield read_context(uri)


def read_context(uri: str) -> RunContext:
    """The context of the run whose folder is `uri`. Raises UserError where no step has written it."""
    store, run = uri.rsplit("/runs/", 1)
    data = open_store(uri).read(CONTEXT)
    recipes = read_journal(store, run, "recipe")
    if data is None or not recipes:
        raise UserError(f"{uri} is not the folder of a run", "Start the run from its first step.")
    return of_this_version(RunContext, {**json.loads(data), "recipe": recipes[0]}, join(uri, CONTEXT))


@dataclass(frozen=True)
class RunData:
    """URIs of what a run imports before it trains; "" is what its recipe does not have.

    `questions` are for evaluation, `checked` are those whose answers are checked where pairs are made.
    """

    seed_data: str
    instructions: str = ""
    questions: str = ""
    base: str = ""
    writer: str = ""
    annotator: str = ""
    evaluation_texts: str = ""
    checked: str = ""


@dataclass(frozen=True)
class RunState:
    """What one phase of a run hands to the next: the run's folder, its data, and URIs of what was made with its model.

    "" is what was not made: M0 and the SFT baseline judge no candidates. `prompts` are those of all rounds that are
    there so far, the first round's first. `baselines` are the stages that measured what the run started from, by the
    model's name. As a KFP parameter it is `to_dict()`.
    """

    run: str
    data: RunData
    name: str = ""
    model: str = ""
    evaluation: str = ""
    annotation: str = ""
    candidates: str = ""
    judgements: str = ""
    prompts: tuple[str, ...] = ()
    baselines: dict[str, list[str]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"prompts": list(self.prompts)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> RunState:
        data = of_this_version(RunData, values["data"], "the run's data")
        return of_this_version(cls, values | {"data": data, "prompts": tuple(values["prompts"])}, "the run's state")

    def measurements(self) -> list[str]:
        """What the next model is held against; none where this one is no judge yet (M0, the SFT baseline)."""
        return [self.evaluation, self.annotation or self.evaluation, self.judgements] if self.judgements else []
