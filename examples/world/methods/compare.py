"""`python -m examples.world.methods`: which of the methods that came after the paper help, held against truth.

In each world, with each seed, every method goes from one M1 (whose stages are found again) to M4. The figures go to the
folder after each run; without --short at the end also into docs/methods.md. Interrupted it goes on where it was: runs
have fixed names, and what is finished is found.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from rich.console import Console

from components.core.processes import usable_cores
from components.core.store import home
from components.registry.client import check_tracking
from examples.world.data import Row, Sizes
from examples.world.judges import FALLIBLE, JUDGES, Judge
from examples.world.make import make_world, write_lines
from examples.world.methods.here import Ended, Wanted, run_all
from examples.world.methods.page import PAGE, draw, write_methods, write_page
from examples.world.methods.progress import progress
from examples.world.methods.results import Result, compared, read_result
from examples.world.methods.results import Row as TableRow
from examples.world.methods.switches import CHECKED, CREAM, LENGTH, METHODS, PLAIN, TEMPORAL, Method
from examples.world.truth import answer
from pipelines.local.run import RunOptions

# A smaller world than the proof's: 117 runs are to end within two hours on two cores (docs/methods.md derives it).
SIZES = Sizes(ift=2000, judgements=6000, ranked=51, pool=450, questions=200)
SETTINGS = (
    f"data.ift={SIZES.ift}",
    "data.eval_prompts=50",
    f"eft.min_examples={SIZES.judgements}",
    "sft.batch_size=64",
    "sft.micro_batch_size=64",
    "sft.epochs=10",
    "prompts.count=150",
    "evaluation.exact_answers.samples=4",
)


@dataclass(frozen=True)
class Plan:
    """What is run. Tests run it in a smaller world: `sizes` and `settings` are for all runs.

    Without `options` store and registry are a folder and a file below the folder of the results.
    """

    seeds: Sequence[int] = (1, 2, 3)
    rounds: int = 3
    worlds: Sequence[Judge] = tuple(JUDGES.values())
    methods: Sequence[Method] = METHODS
    sizes: Sizes = SIZES
    settings: Sequence[str] = SETTINGS
    options: RunOptions = field(default_factory=RunOptions)

    def runs(self) -> Iterator[tuple[Judge, int, Method]]:
        """All worlds with one seed before the next seed: whatever is finished says something of each of them."""
        for seed in self.seeds:
            for judge in self.worlds:
                for method in self.methods:
                    yield judge, seed, method


SHORT = Plan(seeds=(1,), rounds=2, worlds=(FALLIBLE,), methods=(PLAIN, LENGTH, TEMPORAL, CREAM))


def compare(plan: Plan, folder: Path, console: Console) -> list[Result]:
    """Make the worlds below `folder` and run the plan; after each run the table of what there is is written there.

    The plain loop is the first in each world and seed: what it makes is what the others find and are held against. A
    run that ends with an error, for example as no pair is left, is a result, too.
    """
    options, runs = _with_places(plan.options, folder), list(plan.runs())
    for judge, seed in dict.fromkeys((judge, seed) for judge, seed, _ in runs):
        world = folder / f"{judge.name}-{seed}"
        make_world(world, seed, plan.sizes, judge)
        write_lines(world / CHECKED, checked_questions(world))
    wanted = {one.run: one for one in wanted_runs(plan, folder)}
    results: dict[str, Result] = {}
    of_run = dict(zip(wanted, runs, strict=True))
    with progress(console, len(runs)) as ended_too:
        for run, ended in run_all(list(wanted.values()), options):
            judge, seed, method = of_run[run]
            results[run] = _result(judge.name, method.name, seed, ended)
            ended_too(f"{judge.name}, seed {seed}, {method.name}", ended)
            write_table(folder, [results[name] for name in wanted if name in results])
    return [results[name] for name in wanted]


def _with_places(options: RunOptions, folder: Path) -> RunOptions:
    """A folder and a file do for a store and a registry that two processes of one machine use."""
    folder.mkdir(parents=True, exist_ok=True)
    store = options.store or str((folder / "store").absolute())
    registry = options.tracking_uri or f"sqlite:///{(folder / 'mlflow.db').absolute()}"
    check_tracking(registry)  # it is made before several processes would make it at once
    return replace(options, store=store, tracking_uri=registry)


def wanted_runs(plan: Plan, folder: Path) -> Iterator[Wanted]:
    """Each method waits for the plain loop of its world and seed, which makes most of what it starts with."""
    names: dict[tuple[str, int, str], str] = {}
    for judge, seed, method in plan.runs():
        recipe = method.recipe(judge, folder / f"{judge.name}-{seed}", seed, plan.rounds, plan.settings)
        names[judge.name, seed, method.name] = run = f"methods-{recipe.name}"
        trunk = names.get((judge.name, seed, PLAIN.name), "")
        yield Wanted(run, recipe, "" if method is PLAIN else trunk)


def _result(world: str, method: str, seed: int, ended: Ended) -> Result:
    if ended.problem:
        return Result(world, method, seed, [], failed=ended.problem)
    return read_result(world, method, seed, ended.summary)


def checked_questions(world: Path) -> list[Row]:
    """Every other prompt of the pool with its right answer."""
    prompts = [json.loads(line)["prompt"] for line in (world / "prompts.jsonl").read_text().splitlines()]
    return [{"prompt": text, "answer": answer(text)} for text in prompts[::2]]


def write_table(folder: Path, results: list[Result]) -> list[TableRow]:
    """Table and figures into the folder; returns the rows."""
    rows = compared(results)
    (folder / "methods.json").write_text(json.dumps([row.plain() for row in rows], indent=1))
    write_page(folder / "methods.md", rows)
    return rows


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
    os.environ.setdefault("SRLM_HOME", str((options.folder / "srlm").absolute()))
    console = Console() if sys.stdout.isatty() else Console(width=140)
    started, folder = time.monotonic(), options.folder
    rows = write_table(folder, compare(SHORT if options.short else Plan(), folder, console))
    draw(rows, folder / "methods.png")
    if not options.short:
        draw(rows, PAGE.with_suffix(".png"))
        write_page(PAGE, rows)
    console.print(
        f"{(time.monotonic() - started) / 60:.0f} minutes on {len(usable_cores())} cores; runs: {home() / 'runs'}; "
        f"table, picture and figures: {folder}/methods.md, methods.png, methods.json",
        highlight=False,
    )
    return 0
