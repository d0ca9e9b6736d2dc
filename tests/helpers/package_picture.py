"""Draw a package as Kubeflow's UI shows it: `python -m tests.helpers.package_picture PACKAGE PICTURE`.

One panel a level: a box for each task, in the order in which they wait for each other, with its title; small boxes for
what a person can open (pages, figures); lines for what waits for what.
"""

from __future__ import annotations

import sys
from pathlib import Path
from textwrap import fill
from typing import Any

import matplotlib.pyplot as plt
import yaml
from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch

Spec = dict[str, Any]
GRAPH, STEP, ARTIFACT = "#dbe7f6", "#ffffff", "#e8f3e0"
WIDTH, HEIGHT, GAP = 2.9, 0.62, 1.0
LETTERS = 26  # of a title in a line
COLUMNS = 4  # panels side by side
OPENED = {"page": "page (HTML)", "metrics": "figures (Metrics)"}


def draw(package: Path, picture: Path) -> None:
    """Every level of the package, the outermost first."""
    spec = next(yaml.safe_load_all(package.read_text()))
    levels = list(in_order(spec, f"run: {spec['pipelineInfo']['name']}", spec["root"]["dag"]))
    tallest = max(len(dag["tasks"]) for _, dag in levels)
    rows = -(-len(levels) // COLUMNS)
    figure, axes = plt.subplots(rows, COLUMNS, figsize=(3.6 * COLUMNS, (0.9 * tallest + 0.6) * rows))
    for axis in axes.flat:
        axis.axis("off")
    for axis, (title, dag) in zip(axes.flat, levels, strict=False):
        draw_level(axis, spec, title, dag, tallest)
    figure.tight_layout()
    figure.savefig(picture, dpi=80)


def in_order(spec: Spec, title: str, dag: Spec) -> list[tuple[str, Spec]]:
    """Title and graph of this level and of all below it, in the order in which they run."""
    found = [(title, dag)]
    for name in waiting_order(dag):
        component = spec["components"][dag["tasks"][name]["componentRef"]["name"]]
        if "dag" in component:
            found += in_order(spec, dag["tasks"][name]["taskInfo"]["name"], component["dag"])
    return found


def waiting_order(dag: Spec) -> list[str]:
    """Names of tasks, each after those that it waits for."""
    left, order = dict(dag["tasks"]), []
    while left:
        ready = [name for name, task in left.items() if not set(task.get("dependentTasks", [])) & set(left)]
        order += ready
        left = {name: task for name, task in left.items() if name not in ready}
    return order


def draw_level(axis: Axes, spec: Spec, title: str, dag: Spec, tallest: int) -> None:
    order = waiting_order(dag)
    places = {name: -GAP * number for number, name in enumerate(order)}
    for name, task in dag["tasks"].items():
        component = spec["components"][task["componentRef"]["name"]]
        text = fill(task["taskInfo"]["name"], LETTERS)
        box(axis, 0, places[name], WIDTH, text, GRAPH if "dag" in component else STEP)
        for other in task.get("dependentTasks", []):
            near = order.index(name) - order.index(other) == 1
            start, end = (0 if near else -WIDTH / 2), places[other] - HEIGHT / 2
            bend = "arc3" if near else "arc3,rad=0.35"
            arrow = {"arrowstyle": "->", "color": "#555", "connectionstyle": bend}
            axis.annotate("", (start, places[name] + HEIGHT / 2), (start, end), arrowprops=arrow)
        if "executorLabel" in component:
            made = list(component.get("outputDefinitions", {}).get("artifacts", {}))
            text = "\n".join(OPENED.get(artifact, artifact) for artifact in made)
            if made:
                box(axis, WIDTH / 2 + 0.95, places[name], 1.5, text, ARTIFACT, size=7)
    axis.set_title(title, fontsize=11, fontweight="bold", loc="left")
    axis.set_xlim(-WIDTH / 2 - 0.9, WIDTH / 2 + 1.8)
    axis.set_ylim(-GAP * tallest + 0.3, 0.6)


def box(axis: Axes, x: float, y: float, width: float, text: str, colour: str, size: int = 9) -> None:
    style = "round,pad=0,rounding_size=0.1"
    corner = (x - width / 2, y - HEIGHT / 2)
    axis.add_patch(FancyBboxPatch(corner, width, HEIGHT, boxstyle=style, facecolor=colour, edgecolor="#555"))
    axis.text(x, y, text, ha="center", va="center", fontsize=size)


if __name__ == "__main__":
    draw(Path(sys.argv[1]), Path(sys.argv[2]))
