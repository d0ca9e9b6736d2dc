"""How large a package's run becomes in Argo and etcd, by what a real backend showed (Pipelines 2.17, Argo 4.0.8).

A Workflow holds its specification and the states of its nodes. While it runs, the states are packed and the whole may
take 1,048,576 bytes (Argo). *Retry* writes the states unpacked, and etcd takes 2,097,152 bytes. Measured there:
specifications of 1.09 times their package; 5.6 to 6 nodes for a step (driver, step and executor, each with a retry of
its own), some 45 KB where the step's texts (component, executor, pod, task) were 4.7 KB; 3.4 KB packed for a pod.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from components.core.errors import UserError

Spec = dict[str, Any]
ARGO_LIMIT, ETCD_LIMIT = 1_048_576, 2_097_152
SPEC_FACTOR = 1.45  # specification to the package's JSON: 360,181 bytes to 248,000
NODES_OF_STEP, NODES_OF_GRAPH = 6, 4
NODE_BYTES, TEXT_FACTOR = 1_000, 1.4  # of a node beside its texts; quotes within quotes, and values in their places
PACKED_POD_BYTES = 3_400


@dataclass(frozen=True)
class Size:
    """Bytes of a run's Workflow at its end, and how many pods it takes."""

    spec: int
    packed: int
    unpacked: int
    pods: int

    @property
    def running(self) -> int:
        """What Argo's limit is for."""
        return self.spec + self.packed

    @property
    def retried(self) -> int:
        """What etcd's limit is for."""
        return self.spec + self.unpacked


def package_size(documents: Sequence[Spec]) -> Size:
    """The size of a run that goes through all steps of a package (its one or two documents)."""
    spec, platform = documents[0], documents[1] if len(documents) > 1 else {}
    executors = spec["deploymentSpec"]["executors"]
    pods = platform.get("platforms", {}).get("kubernetes", {}).get("deploymentSpec", {}).get("executors", {})
    unpacked = number = 0
    for task, component in tasks(spec, spec["root"]):
        texts = _bytes(task) + _bytes(component)
        if "dag" in component:
            unpacked += NODES_OF_GRAPH * NODE_BYTES + int(2 * TEXT_FACTOR * texts)  # its driver's nodes alone hold them
            number += 1
            continue
        label = component["executorLabel"]
        texts += _bytes(executors[label]) + _bytes(pods.get(label, {}))
        unpacked += NODES_OF_STEP * (NODE_BYTES + int(TEXT_FACTOR * texts))
        number += 2
    written = sum(map(_bytes, documents))
    return Size(int(SPEC_FACTOR * written), PACKED_POD_BYTES * number, unpacked, number)


def require_room(documents: Sequence[Spec]) -> None:
    """Raises UserError where a run of the package would die on its way, or could not be retried."""
    size = package_size(documents)
    for what, found, limit in (
        ("a run of this package", size.running, ARGO_LIMIT),
        ("a Retry of this package's run", size.retried, ETCD_LIMIT),
    ):
        if found > limit:
            raise UserError(
                f"{what} would take {found:,} bytes at its end, where {limit:,} are allowed ({size.pods} pods)",
                "Shorten what the recipe holds as text (prompts, templates), or put it into files of the images.",
            )


def tasks(spec: Spec, component: Spec) -> Iterator[tuple[Spec, Spec]]:
    """Every task that a run of this component executes, nested ones included, each with its own component."""
    for task in component["dag"]["tasks"].values():
        inner = spec["components"][task["componentRef"]["name"]]
        yield task, inner
        if "dag" in inner:
            yield from tasks(spec, inner)


def _bytes(value: Any) -> int:
    return len(json.dumps(value, ensure_ascii=False).encode())
