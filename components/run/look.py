"""A run as its steps would make it, looked at without making anything: what srlm plan shows, and what srlm run asks
before it starts them.

Most steps are walked as they are, in the order of the compiled graph (pipelines/graph/execution.py); of those that do
more than make stages (check servers, register, report) the part that makes stages is walked.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from components.core.context import LOOKED_AT, RunContext, RunState
from components.core.errors import UserError
from components.core.looking import UnmadeStageError, only_looking
from components.core.records import Manifest
from components.core.stage import Stage, UnfinishedStageError
from components.core.store import join
from components.gate.gate import read_decision
from components.gate.gate_model import baseline_after, gated, make_gate, state_after
from components.registry.registry import TrainedModel
from components.run.lifecycle import import_data

CHECKPOINTS = "checkpoints"  # below a training's progress


@dataclass(frozen=True)
class Found:
    """What is known of one stage of a run, whose `name` is as in the journal, e.g. "m1/judging".

    Finished it has a manifest. Else `waits_for` names the stage without which its key is not known, `problem` why it
    could not be looked at; `saved` is what an earlier attempt left: records by kind, or the step of a checkpoint.
    """

    name: str
    uri: str = ""
    manifest: Manifest | None = None
    waits_for: str = ""
    problem: str = ""
    saved: dict[str, int] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """The stage's own name: judging."""
        return self.name.rpartition("/")[2].replace("-", "_")

    @property
    def key(self) -> str:
        """ "" where it is not known."""
        return self.uri.rpartition("/")[2]


@dataclass(frozen=True)
class LookedAt(RunContext):
    """The context of a run that is looked at: its stages in their order, its models, the names of its steps.

    `states` are those after each gated model, by its name.
    """

    found: dict[str, Found] = field(default_factory=dict)
    models: list[TrainedModel] = field(default_factory=list)
    states: dict[str, dict[str, Any]] = field(default_factory=dict)
    steps: list[str] = field(default_factory=list)

    def state(self, name: str) -> dict[str, Any]:
        """As this walk has found it: a run that is only planned has no journal."""
        return self.states[name]

    def make(self, name: str, make: Callable[[], Manifest]) -> str:
        """Returns the stage's URI; of one whose key is not known, one that no stage has."""
        try:
            manifest = make()
            found = Found(name, join(self.store, manifest.stage, manifest.key), manifest)
        except UnmadeStageError as wanted:
            found = Found(name, wanted.stage.uri, saved=saved_progress(wanted.stage))
        except UnfinishedStageError as missing:
            unknown = missing.uri.removeprefix(join(self.uri, "unknown", ""))
            found = Found(name, waits_for=next((n for n, one in self.found.items() if one.uri == missing.uri), unknown))
        except UserError as error:
            found = Found(name, problem=error.problem)
        self.found[name] = found
        return found.uri or join(self.uri, "unknown", name)


def saved_progress(stage: Stage) -> dict[str, int]:
    """What an unfinished stage has kept: records by kind, and the last step of which there is a checkpoint."""
    saved: dict[str, int] = {}
    for name in stage.store.names("progress/"):
        kind = name.split("/")[1]
        if kind != CHECKPOINTS:
            saved[kind] = saved.get(kind, 0) + len((stage.store.read(name) or b"").splitlines())
        elif name.endswith(".json") and name.count("/") == 3:  # a checkpoint's marker: it is whole
            step = json.loads(stage.store.read(name) or b"{}")["step"]
            saved[kind] = max(saved.get(kind, 0), step)
    return saved


@contextmanager
def looked_at(context: RunContext) -> Iterator[LookedAt]:
    """Inside, the steps of the run are looked at: nothing is made and nothing is written."""
    run = LookedAt(**vars(context))
    token = LOOKED_AT.set(run)
    try:
        with only_looking():
            yield run
    finally:
        LOOKED_AT.reset(token)


def look(run: LookedAt, step: str, make: Callable[..., Any], inputs: dict[str, Any]) -> Any:
    """What the step would return. `make` is its component's function, whose name is `step`, `inputs` its parameters."""
    run.steps.append(step)
    match step:
        case "prepare":
            run.recipe.update(inputs["recipe"])
            return RunState(run.uri, import_data(run)).to_dict()
        case "register":
            made = {"name": inputs["name"], "model": inputs["model"]}
            state = baseline_after(inputs["before"], made, inputs["measured"])
            measured = inputs["measured"]["stages"]
            run.models.append(TrainedModel(run.recipe["name"], state.name, state.model, measured, run.run))
            return state.to_dict()
        case "gate":
            return _look_at_gate(run, inputs)
        case "resume":
            return run.states[inputs["name"]] | {"data": inputs["state"]["data"]}
        case "hand_over" | "finish":
            return None
    return make(**inputs)


def _look_at_gate(run: LookedAt, inputs: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """A gate that has not decided yet is taken not to stop the run."""
    made = {name: inputs[name] for name in ("name", "model", "candidates", "judgements", "prompts")}
    state = state_after(inputs["before"], made, inputs["measured"])
    candidate = gated(inputs["before"], state, inputs["measured"])
    gate = make_gate(run, state.name, candidate)
    run.models.append(TrainedModel(run.recipe["name"], state.name, state.model, candidate.measured, run.run))
    run.states[state.name] = state.to_dict()
    decided = run.found[f"{state.name}/gate"].manifest
    return (read_decision(gate).decision if decided else "hold"), state.to_dict()
