"""The phases of a run and their steps, in the order in which they run, as its compiled packages tell them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import yaml

AND = " + "  # between the steps that one box of a package does one after the other, each by its own name in the run


@dataclass(frozen=True)
class Phase:
    """A box of the run; a step that is in none is one of its own title."""

    title: str
    steps: tuple[str, ...]


Outline = tuple[Phase, ...]


def read_outline(packages: Iterable[Path]) -> Outline:
    """Of the packages of a run, one a part."""
    with_parts = [next(yaml.load_all(path.read_text(), Loader=yaml.CSafeLoader), None) for path in packages]
    return outline(filter(None, with_parts))


def outline(specs: Iterable[Mapping[str, Any]]) -> Outline:
    """Of pipeline specs, one a part; what a later part does again (open the run, the report) stands where it ends."""
    phases: dict[str, Phase] = {}
    for spec in specs:
        for phase in _phases(spec, spec["root"]["dag"]):
            known = phases.pop(phase.title, phase) if phase.title == "report" else phases.get(phase.title, phase)
            phases[phase.title] = Phase(phase.title, tuple(dict.fromkeys((*known.steps, *phase.steps))))
    return tuple(phases.values())


def _phases(spec: Mapping[str, Any], dag: Mapping[str, Any]) -> Iterator[Phase]:
    """The exit handler is no phase but holds them."""
    for name, title, component in _tasks(spec, dag):
        if "dag" not in component:
            yield Phase(title, (title,))
        elif name.startswith("exit-handler"):
            yield from _phases(spec, component["dag"])
        else:
            titles = (inner for _, inner, _ in _tasks(spec, component["dag"]))
            yield Phase(title, tuple(step for inner in titles for step in inner.split(AND)))


def _tasks(spec: Mapping[str, Any], dag: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Name, title and component of each task, those before it first: a package has them by name."""
    tasks = dag["tasks"]
    for name in TopologicalSorter(
        {name: task.get("dependentTasks", ()) for name, task in tasks.items()}
    ).static_order():
        yield name, tasks[name]["taskInfo"]["name"], spec["components"][tasks[name]["componentRef"]["name"]]
