"""What compiles and does not run: mistakes that KFP's compiler lets pass, found in the compiled pipeline.

The backend's driver refuses some of them when the step's turn comes, hours into a run; kfp.local passes over others
without a word.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

IMAGES = ("worker_image", "trainer_image")  # the parameters that say where our images lie
PLACEHOLDER = re.compile(r"""\{\{\$\.inputs\.parameters\[\\*['"]([^\\'"]+)\\*['"]\]\}\}""")
EXIT = "ALL_UPSTREAM_TASKS_COMPLETED"
Spec = dict[str, Any]


@dataclass(frozen=True)
class Compiled:
    """A compiled pipeline: its specification and what Kubernetes is told about each executor."""

    spec: Spec
    platform: Spec

    def component(self, task: Spec) -> Spec:
        component: Spec = self.spec["components"][task["componentRef"]["name"]]
        return component

    def executor(self, component: Spec) -> Spec:
        label = component["executorLabel"]
        container: Spec = self.spec["deploymentSpec"]["executors"][label].get("container", {})
        kubernetes = self.platform.get("platforms", {}).get("kubernetes", {}).get("deploymentSpec", {})
        settings = kubernetes.get("executors", {}).get(label, {})
        return {**{name: container.get(name) for name in ("image", "resources", "env")}, "kubernetes": settings}

    def dags(self) -> Iterator[tuple[str, Spec]]:
        """The name and component of every graph, the outermost first."""
        yield "root", self.spec["root"]
        for name, component in self.spec["components"].items():
            if "dag" in component:
                yield name.removeprefix("comp-"), component


def lint(documents: Sequence[Spec]) -> list[str]:
    """Every mistake in a compiled pipeline (the one or two documents of its YAML file), each with its place."""
    compiled = Compiled(documents[0], documents[1] if len(documents) > 1 else {})
    found = []
    for name, component in compiled.dags():
        for task_name, task in component["dag"]["tasks"].items():
            mistakes = _of_task(compiled, component, task, outermost=name == "root")
            found += [f"{name}/{task_name}: {mistake}" for mistake in mistakes]
        found += [f"{name}: {mistake}" for mistake in _of_outputs(compiled, component["dag"])]
    return found


def _of_task(compiled: Compiled, inside: Spec, task: Spec, outermost: bool) -> Iterator[str]:
    component = compiled.component(task)
    yield from _inputs_from_nowhere(compiled, inside, task)
    yield from _inputs_not_given(task, component)
    yield from _condition(task.get("triggerPolicy", {}).get("condition", ""), _received(task))
    if task.get("cachingOptions", {}).get("enableCache"):
        yield "KFP's cache is on, which never checks that an output still exists"
    if task.get("triggerPolicy", {}).get("strategy") == EXIT and not outermost:
        yield "an exit handler only stands at the outermost level"
    if _is_loop(task) and any(map(_is_loop, _tasks_below(compiled, component))):
        yield "a loop inside a loop"
    if "executorLabel" in component:
        yield from _executor(compiled.executor(component), task)


def _inputs_from_nowhere(compiled: Compiled, inside: Spec, task: Spec) -> Iterator[str]:
    tasks = inside["dag"]["tasks"]
    for kind, name, value in _inputs(task):
        given = value.get(f"componentInput{kind}")
        if given and given not in inside.get("inputDefinitions", {}).get(f"{kind.lower()}s", {}):
            yield f"input {name} takes {given}, which its pipeline does not receive"
        made = value.get(f"taskOutput{kind}")
        if made and not _has_output(compiled, tasks, kind, made["producerTask"], made[f"output{kind}Key"]):
            yield f"input {name} takes {made[f'output{kind}Key']} of {made['producerTask']}, which does not make it"
    for other in task.get("dependentTasks", []):
        if other not in tasks:
            yield f"it waits for {other}, which is not beside it"


def _inputs_not_given(task: Spec, component: Spec) -> Iterator[str]:
    given = {(kind, name) for kind, name, _ in _inputs(task)}
    for kind in ("Parameter", "Artifact"):
        for name, definition in component.get("inputDefinitions", {}).get(f"{kind.lower()}s", {}).items():
            optional = definition.get("isOptional") or name == _loop_item(task)
            if (kind, name) not in given and not optional:
                yield f"input {name} is not given"
    for name in sorted(set(PLACEHOLDER.findall(json.dumps(task.get("inputs", {})))) - _received(task)):
        yield f"an input reads {name}, which it does not receive"


def _executor(executor: Spec, task: Spec) -> Iterator[str]:
    """An executor is shared by all tasks of its component, so each of them must receive what it reads."""
    for name in sorted(set(PLACEHOLDER.findall(json.dumps(executor))) - _received(task)):
        yield f"its pod's settings read {name}, which it does not receive"
    image = str(executor["image"])
    if not any(name.removeprefix("pipelinechannel--") in IMAGES for name in PLACEHOLDER.findall(image)):
        yield f"its image is {image}, not one of {' and '.join(IMAGES)}"


def _condition(condition: str, received: set[str]) -> Iterator[str]:
    """kfp.local takes both branches of what it cannot compare as false."""
    for name in sorted(set(re.findall(r"inputs\.parameter_values\['([^']+)'\]", condition)) - received):
        yield f"its condition reads {name}, which it does not receive"
    for text in re.findall(r"[=<>] '(.*?)'\)*(?= && | \|\| |$)", condition, re.DOTALL):
        if "'" in text or '"' in text:
            yield f"its condition compares with a text that holds a quote: {condition}"
    if "double(" in condition:
        yield f"its condition compares a whole number with a fraction: {condition}"


def _of_outputs(compiled: Compiled, dag: Spec) -> Iterator[str]:
    outputs = dag.get("outputs", {})
    for kind in ("Parameter", "Artifact"):
        for name, output in outputs.get(f"{kind.lower()}s", {}).items():
            selectors = list(_selectors(output))
            if kind == "Artifact" and len(selectors) > 1:
                yield f"output {name} is one of several artifacts, which kfp.local does not run"
            for selector in selectors:
                made = (selector["producerSubtask"], selector[f"output{kind}Key"])
                if not _has_output(compiled, dag["tasks"], kind, *made):
                    yield f"output {name} takes {made[1]} of {made[0]}, which does not make it"


def _selectors(output: Spec) -> Iterator[Spec]:
    yield from output.get("artifactSelectors", [])
    yield from output.get("valueFromOneof", {}).get("parameterSelectors", [])
    if "valueFromParameter" in output:
        yield output["valueFromParameter"]


def _inputs(task: Spec) -> Iterator[tuple[str, str, Spec]]:
    """Kind (Parameter, Artifact), name and source of each input."""
    for kind in ("Parameter", "Artifact"):
        for name, value in task.get("inputs", {}).get(f"{kind.lower()}s", {}).items():
            yield kind, name, value


def _received(task: Spec) -> set[str]:
    return {name for kind, name, _ in _inputs(task) if kind == "Parameter"}


def _has_output(compiled: Compiled, tasks: Spec, kind: str, task: str, output: str) -> bool:
    if task not in tasks:
        return False
    return output in compiled.component(tasks[task]).get("outputDefinitions", {}).get(f"{kind.lower()}s", {})


def _is_loop(task: Spec) -> bool:
    return "parameterIterator" in task or "artifactIterator" in task


def _loop_item(task: Spec) -> str | None:
    iterator = task.get("parameterIterator") or task.get("artifactIterator") or {}
    item: str | None = iterator.get("itemInput")
    return item


def _tasks_below(compiled: Compiled, component: Spec) -> Iterator[Spec]:
    for task in component.get("dag", {}).get("tasks", {}).values():
        yield task
        yield from _tasks_below(compiled, compiled.component(task))
