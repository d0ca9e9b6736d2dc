"""`python -m examples.world.methods`: which of the methods that came after the paper help, held against truth.

In each world, with each seed, every method goes from one M1 (whose stages are found again) to M4. The figures go to the
folder; without --short also into docs/methods.md. Interrupted it goes on where it was: runs have fixed names.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from rich.console import Console

from components.core.errors import UserError
from examples.world.data import Row
from examples.world.judges import FALLIBLE, JUDGES, Judge
from examples.world.make import make_world, write_lines
from examples.world.methods.page import PAGE, draw, write_methods, write_page
from examples.world.methods.results import Result, compared, read_result
from examples.world.methods.switches import CHECKED, CREAM, LENGTH, METHODS, PLAIN, TEMPORAL, Method
from examples.world.truth import answer
from pipelines.local.run import RunOptions, run_recipe, servers


@dataclass(frozen=True)
class Plan:
    """What is run. Tests run it in a smaller world: `make_world` writes the files, `settings` are for all runs."""

    seeds: Sequence[int] = (1, 2, 3)
    rounds: int = 3
    worlds: Sequence[Judge] = tuple(JUDGES.values())
    methods: Sequence[Method] = METHODS
    make_world: Callable[[Path, int, Judge], object] = lambda folder, seed, judge: make_world(folder, seed, judge=judge)
    settings: Sequence[str] = ()
    options: RunOptions = field(default_factory=RunOptions)

    def runs(self) -> Iterator[tuple[Judge, int, Method]]:
        """The plain loop first in each world and seed: what it makes is what the others are held against."""
        for judge in self.worlds:
            for seed in self.seeds:
                for method in self.methods:
                    yield judge, seed, method


SHORT = Plan(seeds=(1,), rounds=2, worlds=(FALLIBLE,), methods=(PLAIN, LENGTH, TEMPORAL, CREAM))


def compare(plan: Plan, folder: Path, console: Console) -> list[Result]:
    """Make the worlds below `folder` and run the plan. All runs share one local store and one registry.

    A run that ends with an error, for example as no pair is left, is a result, too.
    """
    results: list[Result] = []
    with servers(plan.options, console) as addresses:
        options = replace(plan.options, **addresses)
        for judge, seed, method in plan.runs():
            world = folder / f"{judge.name}-{seed}"
            plan.make_world(world, seed, judge)
            write_lines(world / CHECKED, checked_questions(world))
            console.rule(f"{judge.meaning}, seed {seed}: {method.meaning}")
            recipe = method.recipe(judge, world, seed, plan.rounds, plan.settings)
            try:
                summary = run_recipe(recipe, options, console, run=f"methods-{recipe.name}")
            except UserError as error:
                console.print(str(error), highlight=False, soft_wrap=True)
                results.append(Result(judge.name, method.name, seed, [], failed=error.problem))
            else:
                results.append(read_result(judge.name, method.name, seed, summary))
    return results


def checked_questions(world: Path) -> list[Row]:
    """Every other prompt of the pool with its right answer."""
    prompts = [json.loads(line)["prompt"] for line in (world / "prompts.jsonl").read_text().splitlines()]
    return [{"prompt": text, "answer": answer(text)} for text in prompts[::2]]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m examples.world.methods", description=__doc__)
    parser.add_argument("--short", action="store_true", help="one world, seed 1, four methods, M1 to M3; no page")
    parser.add_argument("--folder", type=Path, default=Path("world"), help="for worlds and results (default: world)")
    parser.add_argument(
        "--page", action="store_true", help="run nothing: write the list of methods into docs/methods.md"
    )
    options = parser.parse_args(arguments)
    if options.page:
        write_methods(PAGE)
        return 0
    os.environ.setdefault("SRLM_HOME", str(Path(".srlm").absolute()))
    console = Console() if sys.stdout.isatty() else Console(width=140)
    plan = SHORT if options.short else Plan()
    results = compare(plan, options.folder, console)
    rows = compared(results)
    (options.folder / "methods.json").write_text(json.dumps([row.plain() for row in rows], indent=1))
    draw(rows, options.folder / "methods.png")
    write_page(options.folder / "methods.md", rows)
    if not options.short:
        draw(rows, PAGE.with_suffix(".png"))
        write_page(PAGE, rows)
    console.print(
        f"table, picture and figures: {options.folder}/methods.md, methods.png, methods.json", highlight=False
    )
    return 0
