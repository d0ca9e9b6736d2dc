"""What is done to a package that KFP compiled: each component stands in it once, and phases wait for their gate."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from typing import Any

Spec = dict[str, Any]
DECISION, STATE = "Output", "state"  # outputs of a phase that ends with a gate


def finish_package(spec: Spec, platform: Spec | None = None) -> None:
    """The documents of a package, changed in place."""
    wait_for_gates(spec)
    shorten_executors(spec)
    merge_executors(spec, platform or {})


def wait_for_gates(spec: Spec) -> None:
    """A phase that takes the state of a gated model runs unless that gate said stop.

    KFP's language only knows conditions as groups, each inside the one before: M3's phase would lie three levels down.
    Its format allows a condition on any task; what depends on a task that was not run is not run either (Argo: a task
    depends on `phase.Succeeded`; kfp.local: a condition whose input is not there is false).
    """
    for _, dag in dags(spec):
        for task in dag["tasks"].values():
            for value in list(task.get("inputs", {}).get("parameters", {}).values()):
                made = value.get("taskOutputParameter", {})
                if made.get("outputParameterKey") == STATE and _is_gated(spec, dag["tasks"][made["producerTask"]]):
                    _run_unless_stopped(spec, task, made["producerTask"])


def _is_gated(spec: Spec, task: Spec) -> bool:
    component = spec["components"][task["componentRef"]["name"]]
    return "dag" in component and DECISION in component["outputDefinitions"]["parameters"]


def _run_unless_stopped(spec: Spec, task: Spec, phase: str) -> None:
    name = f"pipelinechannel--{phase}-{DECISION}"
    decision = {"taskOutputParameter": {"outputParameterKey": DECISION, "producerTask": phase}}
    task["inputs"]["parameters"][name] = decision
    component = spec["components"][task["componentRef"]["name"]]
    component["inputDefinitions"]["parameters"][name] = {"parameterType": "STRING"}
    task["triggerPolicy"] = {"condition": f"inputs.parameter_values['{name}'] != 'stop'"}


def shorten_executors(spec: Spec) -> None:
    """What a step does not need, as its text stands in six node states of each of its runs.

    KFP writes each request and limit twice: as it is (resourceMemoryLimit: 4Gi), which backends since 2.4 read, and as
    a number for older ones (memoryLimit: 4.29). Its shell command is indented by 25 spaces within lines; the step's
    function comes with its docstring.
    """
    for executor in spec["deploymentSpec"]["executors"].values():
        container = executor.get("container", {})
        amounts = container.get("resources", {})
        for name in [name for name in amounts if f"resource{name[0].upper()}{name[1:]}" in amounts]:
            del amounts[name]
        if container.get("command", [])[:2] == ["sh", "-ec"]:
            container["command"][2] = re.sub(" {2,}", " ", container["command"][2])
            container["command"][3] = _without_docstring(container["command"][3])


def _without_docstring(source: str) -> str:
    module = ast.parse(source)
    for function in module.body:
        if isinstance(function, ast.FunctionDef) and ast.get_docstring(function):
            del function.body[0]
    return ast.unparse(module)


def merge_executors(spec: Spec, platform: Spec) -> None:
    """Components and executors that say the same are written once.

    KFP writes one for each task; a driver and its retries carry their text along in Argo's node states.
    """
    executors = spec["deploymentSpec"]["executors"]
    settings = platform.get("platforms", {}).get("kubernetes", {}).get("deploymentSpec", {}).get("executors", {})
    labels = _first_of_each({label: [text, settings.get(label)] for label, text in executors.items()})
    for label, first in labels.items():
        if label != first:
            del executors[label]
            settings.pop(label, None)
    components = spec["components"]
    for component in components.values():
        if "executorLabel" in component:
            component["executorLabel"] = labels[component["executorLabel"]]
    names = _first_of_each(components)
    spec["components"] = {name: text for name, text in components.items() if names[name] == name}
    for _, dag in dags(spec):
        for task in dag["tasks"].values():
            task["componentRef"]["name"] = names[task["componentRef"]["name"]]


def _first_of_each(texts: dict[str, Any]) -> dict[str, str]:
    """By name, the first name of all that have the same content."""
    first: dict[str, str] = {}
    return {name: first.setdefault(json.dumps(text, sort_keys=True), name) for name, text in texts.items()}


def dags(spec: Spec) -> Iterator[tuple[str, Spec]]:
    """Every graph of a package with the name of its component, the outermost ("root") first."""
    yield "root", spec["root"]["dag"]
    for name, component in spec["components"].items():
        if "dag" in component:
            yield name, component["dag"]
