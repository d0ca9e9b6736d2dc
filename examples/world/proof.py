"""`python -m examples.world.proof`: the loop learns, against truth; and what happens where it should not.

Runs the recipe `world` as `srlm run` does (compiled pipeline, store, registry, engine): the method with three seeds,
and with the first one both control experiments, which find the method's SFT in the store. Exit code 1: a claim failed.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from rich.console import Console

from examples.world.conditions import METHOD, SHUFFLED, TOO_HARD, Condition
from examples.world.make import make_world
from examples.world.outcome import Claim, Outcome, claims, read_outcome
from examples.world.show import draw, table
from pipelines.local.run import RunOptions, run_recipe, servers


@dataclass(frozen=True)
class Plan:
    """What is run: rounds of the method for each seed, then of each control experiment with the first seed.

    Tests run it in a smaller world: `make_world` writes the files, `settings` are --set overrides for all runs.
    """

    seeds: Sequence[int] = (1, 2, 3)
    rounds: int = 3
    control_rounds: int = 3
    make_world: Callable[[Path, int], object] = make_world
    settings: Sequence[str] = ()
    options: RunOptions = field(default_factory=RunOptions)

    def runs(self) -> Iterator[tuple[Condition, int, int]]:
        """Condition, seed and rounds of each run."""
        for seed in self.seeds:
            yield METHOD, seed, self.rounds
        for control in (SHUFFLED, TOO_HARD):
            yield control, self.seeds[0], self.control_rounds


SHORT = Plan(seeds=(1,), rounds=2, control_rounds=1)  # M1 to M3, and the controls' M2


def prove(plan: Plan, folder: Path, console: Console) -> list[Outcome]:
    """Make the worlds below `folder` and run the plan. All runs share one local store and one registry."""
    outcomes = []
    with servers(plan.options, console) as addresses:
        options = replace(plan.options, **addresses)
        for condition, seed, rounds in plan.runs():
            world = folder / f"seed-{seed}"
            plan.make_world(world, seed)
            console.rule(f"{condition.meaning}, seed {seed}")
            summary = run_recipe(condition.recipe(world, seed, rounds, plan.settings), options, console)
            outcomes.append(read_outcome(condition.name, seed, summary))
    return outcomes


def report(outcomes: Sequence[Outcome], folder: Path, console: Console) -> bool:
    """Print the table and the claims, leave them in `folder` with the picture; returns whether all claims hold."""
    seen = [claim for outcome in outcomes for claim in claims(outcome)]
    draw(outcomes, folder / "proof.png")
    (folder / "proof.json").write_text(json.dumps(_plain(outcomes, seen), indent=1))
    console.print(table(outcomes))
    for claim in seen:
        console.print(f"{'holds ' if claim.holds else 'FAILED'}  {claim.text}", highlight=False, soft_wrap=True)
    console.print(f"picture: {folder / 'proof.png'}; figures: {folder / 'proof.json'}", highlight=False)
    return all(claim.holds for claim in seen)


def _plain(outcomes: Sequence[Outcome], seen: Sequence[Claim]) -> dict[str, object]:
    runs = [
        {
            "condition": outcome.condition,
            "seed": outcome.seed,
            "stopped_by": outcome.stopped_by,
            "models": [
                {
                    "name": model.name,
                    "verdict": model.verdict,
                    "reasons": list(model.reasons),
                    "pairs": model.pairs,
                    "metrics": dict(model.metrics),
                }
                for model in outcome.models
            ],
        }
        for outcome in outcomes
    ]
    return {"claims": [claim._asdict() for claim in seen], "runs": runs}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m examples.world.proof", description=__doc__)
    parser.add_argument("--short", action="store_true", help="one seed, M1 to M3 and the controls' first round")
    parser.add_argument("--folder", type=Path, default=Path("world"), help="for worlds and results (default: world)")
    options = parser.parse_args(arguments)
    os.environ.setdefault("SRLM_HOME", str(Path(".srlm").absolute()))
    console = Console() if sys.stdout.isatty() else Console(width=140)
    started = time.monotonic()
    outcomes = prove(SHORT if options.short else Plan(), options.folder, console)
    good = report(outcomes, options.folder, console)
    console.print(f"{(time.monotonic() - started) / 60:.0f} minutes")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
