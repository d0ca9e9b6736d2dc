"""The steps of a compiled pipeline one after the other in this process: for a walk that only looks at them, and for a
run whose work is done, which would start a process for each of them for nothing.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any, get_args

Spec = dict[str, Any]
Values = dict[str, Any]
# What makes a step of its name, its component's function and its inputs; returns what that function does.
Call = Callable[[str, Callable[..., Any], Values], Any]
ALWAYS = "ALL_UPSTREAM_TASKS_COMPLETED"  # of an exit handler
_CONDITION = re.compile(r"inputs\.parameter_values\['(?P<name>.+)'\] != '(?P<value>.*)'")


def execute_steps(spec: Spec, component: Spec, given: Values, call: Call) -> Values:
    """`call` each step of the compiled pipeline, or of one of its phases, in the order of its graph; returns its
    outputs. The pipeline itself is spec["root"], and `given` are its parameters."""
    defined = component.get("inputDefinitions", {}).get("parameters", {})
    inputs = {name: one.get("defaultValue") for name, one in defined.items()} | given
    tasks = component["dag"]["tasks"]
    made: dict[str, Values] = {}
    order = {name: task.get("dependentTasks", ()) for name, task in tasks.items()}
    for name in TopologicalSorter(order).static_order():
        task, trigger = tasks[name], tasks[name].get("triggerPolicy", {})
        if trigger.get("strategy") != ALWAYS and not made.keys() >= set(order[name]):
            continue  # what it depends on was not run
        received = task.get("inputs", {}).get("parameters", {})
        values = {input_: _value(value, inputs, made) for input_, value in received.items()}
        if _is_met(trigger.get("condition", ""), values):
            inner = spec["components"][task["componentRef"]["name"]]
            make = execute_steps if "dag" in inner else _step
            made[name] = make(spec, inner, values, call)
    wanted = component["dag"].get("outputs", {}).get("parameters", {})
    outputs = {name: output["valueFromParameter"] for name, output in wanted.items()}
    return {name: made[one["producerSubtask"]][one["outputParameterKey"]] for name, one in outputs.items()}


def _value(value: Spec, inputs: Values, made: dict[str, Values]) -> Any:
    """An input of a task: the graph's own, another task's output, or a constant, as text with the graph's inputs."""
    if "componentInputParameter" in value:
        return inputs[value["componentInputParameter"]]
    if output := value.get("taskOutputParameter"):
        return made[output["producerTask"]][output["outputParameterKey"]]
    return value["runtimeValue"]["constant"]


def _is_met(condition: str, values: Values) -> bool:
    if not condition:
        return True
    match = _CONDITION.fullmatch(condition)
    if not match:
        raise ValueError(f"a condition of another form: {condition}")
    return bool(values[match["name"]] != match["value"])


def _step(spec: Spec, component: Spec, given: Values, call: Call) -> Values:
    """The outputs of a step, as KFP hands them on: JSON values. Its function is the compiled one, which a pod executes,
    too."""
    container = spec["deploymentSpec"]["executors"][component["executorLabel"]]["container"]
    name, source = container["args"][container["args"].index("--function_to_execute") + 1], container["command"][-1]
    module: dict[str, Any] = {}
    exec(compile(source, f"<step {name}>", "exec"), module)  # noqa: S102  our own, compiled a moment ago
    signature = inspect.signature(module[name], eval_str=True)
    whole = [one for one, parameter in signature.parameters.items() if parameter.annotation is int]
    inputs = {one: value for one, value in given.items() if one in signature.parameters}
    inputs |= {one: int(inputs[one]) for one in whole}  # JSON's numbers are floats
    made = call(name, module[name], inputs)
    fields = getattr(signature.return_annotation, "_fields", None)
    outputs: Values = json.loads(json.dumps(dict(zip(fields, made, strict=True)) if fields else {"Output": made}))
    return outputs


def with_outputs(function: Callable[..., Any], inputs: Values, folder: Path) -> Values:
    """The inputs with what the function takes to write to (pages, figures for the KFP UI), as files of the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    parameters = inspect.signature(function, eval_str=True).parameters
    missing = {name: get_args(one.annotation)[0] for name, one in parameters.items() if name not in inputs}
    return inputs | {name: artifact(uri=str(folder / name)) for name, artifact in missing.items()}
